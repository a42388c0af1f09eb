"""The one function that moves a run from status to status."""

from typing import Any

from django.db import transaction
from django.db.models import F

from runs import poke
from runs.clock import Now
from runs.models import Run
from runs.moves import FINAL, MOVES, Requested, Status
from runs.services import journal


class MoveRefused(Exception):
    """The run has moved on: its status does not allow this."""

    def __init__(self, run: Run, move: str) -> None:
        self.run, self.move = run, move
        super().__init__(f"The run is {run.status}; it cannot be moved by “{move}” now.")


def lock(run_id: Any) -> Run:
    """The run under its row lock. Always the first lock of a transaction; raises Run.DoesNotExist."""
    return Run.objects.select_for_update(no_key=True).get(pk=run_id)


def move(run: Run, name: str, *entries: journal.Entry, **fields: Any) -> Run:
    """Make the move ``name``, write its journal entries and ``fields``; poke on commit. Raises MoveRefused.

    ``run`` is not read again: whoever shows or uses it afterwards refreshes it.

    Call it inside ``atomic`` with the run locked. The guard repeats what the lock promises, so that a caller who forgot
    the lock loses cleanly.
    """
    allowed, to = MOVES[name]
    changes: dict[str, Any] = {"status": to, "updated_at": Now(), "boundary": F("boundary") + 1, **fields}
    if to != Status.RUNNING:
        changes.update(worker=None, step_started_at=None)
    if to in FINAL or to == Status.HELD:
        changes["requested"] = Requested.NOTHING
    changes["finished_at"] = Now() if to in FINAL else None
    if not Run.objects.filter(pk=run.pk, status__in=allowed).update(**changes):
        raise MoveRefused(Run.objects.get(pk=run.pk), name)
    for entry in entries:
        journal.record(run.pk, entry)
    poke_on_commit(run)
    return run


def poke_on_commit(run: Run) -> None:
    """Let live pages look at the run after the commit."""
    run_id = run.pk
    transaction.on_commit(lambda: poke.run_changed(run_id), robust=True)
