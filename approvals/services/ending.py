"""How a run, or a branch of it, comes to a bad end: failed, rejected, or rolled back. The row is locked."""

from typing import Any

from django.db.models import F

from approvals.services.withdrawing import withdraw_all
from runs import bell
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run
from runs.moves import Requested, Status
from runs.services import journal, moves
from workflows import registry

REJECTED = "Rejected"  # the error's type of a branch whose gate was rejected


def fail(
    row: Run | Branch, error: dict[str, Any], *entries: journal.Entry, by: str = "", reason: str = "", **fields: Any
) -> None:
    """End it as failed, after these ``entries``; a workflow may have such a run rolled back instead.

    A branch fails alone; what becomes of its run is for the engine to see (engine/services/settling.py).
    """
    if isinstance(row, Branch):
        moves.move(row, "fail", *entries, error=error, **fields)
        return
    if _rolls_back_by_itself(row):
        moves.record(row, *entries)
        reason = f"{error['type']}: {error['message']}"[:500]
        begin_roll_back(row, by=by, reason=reason, stays_held=True, error=error, **fields)
        return
    withdraw_all(row, by=by or "holdfast", reason="the run has failed")
    detail = {"status": "failed", "error": error, **({"reason": reason} if reason else {})}
    ended = journal.Entry(Kind.ENDED, row.step, row.attempt, by, detail)
    moves.move(row, "fail", *entries, ended, error=error, **({"reason": reason} if reason else {}), **fields)


def cancel(run: Run, *, by: str, reason: str) -> None:
    """End it as cancelled."""
    withdraw_all(run, by=by, reason="the run was cancelled")
    cancelled = journal.Entry(Kind.CANCELLED, run.step, None, by, {"reason": reason})
    ended = journal.Entry(Kind.ENDED, run.step, None, by, {"status": "cancelled", "reason": reason})
    moves.move(run, "cancel", cancelled, ended, reason=reason)


def reject(row: Run | Branch, *, by: str, reason: str) -> None:
    """End it as rejected; a branch as one that has failed for that reason."""
    if isinstance(row, Branch):
        text = f"rejected by {by}" + (f": {reason}" if reason else "")
        moves.move(row, "fail", error=row.error_here(REJECTED, text))
        return
    withdraw_all(row, by=by, reason="the run was rejected")
    ended = journal.Entry(Kind.ENDED, row.step, None, by, {"status": "rejected", "reason": reason})
    moves.move(row, "reject", ended, reason=reason)


def roll_back(run: Run, *, by: str, reason: str) -> None:
    """Have its effects undone. While a worker, or one of its branches, is in a step, that is asked for, and done after it."""
    if run.worker is None and not run.branches.filter(worker__isnull=False).exists():
        begin_roll_back(run, by=by, reason=reason)
        return
    if run.requested == Requested.CANCEL:  # it ends in any case
        return
    moves.record(run, journal.Entry(Kind.NOTE, run.step, None, by, {"text": "asked to roll back", "reason": reason}))
    Run.objects.filter(pk=run.pk).update(requested=Requested.ROLL_BACK, reason=reason)
    moves.poke_on_commit(run)


def begin_roll_back(run: Run, *, by: str, reason: str, stays_held: bool = False, **fields: Any) -> None:
    """From now on its effects are undone, the last one first (engine/undoing.py). What is in doubt is looked up then.

    ``stays_held``: a decision led here, and decisions go on while a run is held, the run does not.
    """
    doubt_at = fields.pop("doubt_at", run.doubt_at)
    fields.pop("doubt_reason", None)
    doubt = None
    if run.rolls_back_from is not None:  # once more: what was in doubt then is so still
        doubt = (run.pause or {}).get("doubt")
    elif doubt_at is not None and run.fan_out_id is None:
        at = database_now() if isinstance(doubt_at, Now) else doubt_at
        doubt = {"step": run.step, "visit": run.visit, "at": at.isoformat(), "reason": run.doubt_reason, "saved": run.saved}
    withdraw_all(run, by=by or "holdfast", reason="the run is rolled back")
    began = journal.Entry(Kind.NOTE, run.step, None, by, {"text": "rolls back: its effects are undone, the last one first",
                                                         "reason": reason})  # fmt: skip
    undoing: dict[str, Any] = {"kind": "undo", "doubt": doubt}
    begun: dict[str, Any] = {
        "attempt": 1,
        "failures": 0,
        "losses": 0,
        "saved": None,
        "pause": undoing,
        "doubt_at": None,
        "doubt_reason": "",
    }
    begun |= {"reason": reason, "rolls_back_from": F("seq"), "available_at": Now(), "limit": ""}
    if stays_held and run.status == Status.HELD:
        moves.record(run, began)
        Run.objects.filter(pk=run.pk).update(**{**fields, **begun}, boundary=F("boundary") + 1, updated_at=Now())
        moves.poke_on_commit(run)
        return
    moves.move(run, "roll_back", began, **{**fields, **begun})
    bell.ring_on_commit(run.pk)


def _rolls_back_by_itself(run: Run) -> bool:
    if run.rolls_back_from is not None:
        return False
    workflow = registry.known(run.workflow, run.version)
    return workflow is not None and workflow.on_failure == "roll_back"
