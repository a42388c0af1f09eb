"""The one function that moves a run from status to status."""

from dataclasses import replace
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F

from runs import poke
from runs.clock import Now
from runs.models import Branch, Run
from runs.moves import BRANCH_FINAL, BRANCH_MOVES, FINAL, MOVES, BranchStatus, Requested, Status
from runs.services import journal

Row = TypeVar("Row", bound=Run | Branch)


class MoveRefused(Exception):
    """The run has moved on: its status does not allow this."""

    def __init__(self, run: Run, move: str) -> None:
        self.run, self.move = run, move
        super().__init__(f"The run is {run.status}; it cannot be moved by “{move}” now.")


def lock(run_id: Any) -> Run:
    """The run under its row lock. Always the first lock of a transaction; raises Run.DoesNotExist."""
    return Run.objects.select_for_update(no_key=True).get(pk=run_id)


def lock_branch(branch_id: Any, run: Run) -> Branch:
    """A branch of the locked run under its own lock, with that run on it."""
    branch = Branch.objects.select_for_update(no_key=True).get(pk=branch_id)
    branch.run = run
    return branch


def move(row: Row, name: str, *entries: journal.Entry, **fields: Any) -> Row:
    """Make the move ``name``, write its journal entries and ``fields``; poke on commit. Raises MoveRefused.

    ``row`` is a run, or a branch of one. It is not read again: whoever shows or uses it afterwards refreshes it.

    Call it inside ``atomic`` with the run locked. The guard repeats what the lock promises, so that a caller who forgot
    the lock loses cleanly.
    """
    changes: dict[str, Any] = {"updated_at": Now(), "boundary": F("boundary") + 1, **fields}
    moved = _move_branch(row, name, changes) if isinstance(row, Branch) else _move_run(row, name, changes)
    if not moved:
        raise MoveRefused(Run.objects.get(pk=row.run_id), name)
    record(row, *entries)
    poke_on_commit(row)
    return row


def record(row: Run | Branch, *entries: journal.Entry) -> int:
    """Write entries into the run's journal; a branch's name their branch. The last one's seq, -1 for none."""
    seq = -1
    for entry in entries:
        if isinstance(row, Branch):
            entry = replace(entry, detail={**(entry.detail or {}), "branch": row.index})
        seq = journal.record(row.run_id, entry)
    return seq


def _move_run(run: Run, name: str, changes: dict[str, Any]) -> int:
    allowed, to = MOVES[name]
    if name != "advance":  # it leaves its worker's hands
        changes.update(worker=None, step_started_at=None)
    if to in FINAL or to == Status.HELD or name == "roll_back":
        changes.setdefault("requested", Requested.NOTHING)
    changes["finished_at"] = Now() if to in FINAL else None
    return Run.objects.filter(pk=run.pk, status__in=allowed).update(status=to, **changes)


def _move_branch(branch: Branch, name: str, changes: dict[str, Any]) -> int:
    allowed, to = BRANCH_MOVES[name]
    if to != BranchStatus.RUNNING:
        changes.update(worker=None, slot=None, step_started_at=None)
    changes["finished_at"] = Now() if to in BRANCH_FINAL else None
    return Branch.objects.filter(pk=branch.pk, status__in=allowed).update(status=to, **changes)


def poke_on_commit(row: Run | Branch) -> None:
    """Let live pages look at the run after the commit."""
    run_id = row.run_id
    transaction.on_commit(lambda: poke.run_changed(run_id), robust=True)
