"""Honouring what was asked of a run while it was in somebody's hands. The row is locked."""

from approvals.services import ending
from approvals.services.withdrawing import withdraw_all
from runs.models import Branch, Kind, Run
from runs.moves import Requested
from runs.services import journal, moves
from workflows.attempts import Failure

DEADLINE_PASSED = Failure("DeadlinePassed", "the run's deadline has passed; no step starts after it", "", retryable=False)


def stop_if_requested(row: Run | Branch) -> None:
    """A run stops here and now; a branch's stops when none of its branches is in a step (services/settling.py)."""
    if isinstance(row, Run) and row.requested:
        stop_as_requested(row)


def stop_as_requested(run: Run) -> None:
    """Honour the cancel, hold or roll back that the locked run carries."""
    if run.requested == Requested.CANCEL:
        withdraw_all(run, by="", reason="the run was cancelled")
        ended = journal.Entry(Kind.CANCELLED, run.step, None, "", {"reason": run.reason})
        moves.move(run, "cancel", ended, journal.Entry(Kind.ENDED, detail={"status": "cancelled"}))
    elif run.requested == Requested.ROLL_BACK:
        ending.begin_roll_back(run, by="", reason=run.reason)
    else:
        moves.move(run, "hold", journal.Entry(Kind.HELD, run.step, None, "", {"reason": run.reason}))
