"""Sleeping, and waiting for a signal: the run (or branch) lies in the queue, to be taken when its time has come.

``pause`` on its row says for what: ``{"kind": "sleep", "until"}``, or ``{"kind": "signal", "name", "goto", "on_timeout",
"until"}`` until the signal arrives (services/signals.py) or a worker takes it at its timeout.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from approvals.services import ending
from checkpoints import packing
from engine import boundary, endings
from engine.context import RunCtx
from engine.insisting import insist
from engine.requests import stop_if_requested
from runs import bell
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run, Signal
from runs.places import arrival
from runs.services import journal, moves
from workflows import Sleep, Wait
from workflows import state as states

if TYPE_CHECKING:
    from engine.stretch import Stretch

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)  # psycopg reads no 'infinity'


@insist
def pause(stretch: "Stretch", what: Sleep | Wait, target: str, change: states.Change, ctx: RunCtx) -> bool:
    """The boundary of a step that sleeps or waits: nobody has it until then."""
    ctx.outcome = "pauses"
    with boundary.fenced(stretch.run) as row:
        goes_on = target if isinstance(what, Sleep) else packing.HERE
        fields = {**stretch.write_checkpoint(change, ctx, goes_on), **endings.spend(row, ctx, kept=True)}
        if isinstance(what, Sleep):
            _sleep(row, what, target, fields)
        else:
            _wait(row, what, target, fields)
        stop_if_requested(row)
    return False


def _sleep(row: Run | Branch, what: Sleep, target: str, fields: dict[str, Any]) -> None:
    now = database_now()
    until = what.until or now + timedelta(seconds=what.seconds or 0)
    slept = journal.Entry(Kind.SLEPT, row.step, row.attempt, "", {"until": until.isoformat(), "goto": target})
    place = {**arrival(row, target), "pause": {"kind": "sleep", "until": until.isoformat()}, "available_at": until}
    moves.move(row, "put_back", slept, **place, **fields)
    if until <= now:
        bell.ring_on_commit(row.run_id)


def _wait(row: Run | Branch, what: Wait, target: str, fields: dict[str, Any]) -> None:
    if take_kept(row, what.name):
        moves.move(row, "put_back", **arrival(row, target), available_at=Now(), **fields)
        bell.ring_on_commit(row.run_id)
        return
    until = FOREVER if what.timeout is None else database_now() + timedelta(seconds=what.timeout)
    detail = {"text": f"waits for the signal “{what.name}”", "until": None if what.timeout is None else until.isoformat()}
    waits = {"kind": "signal", "name": what.name, "goto": target, "on_timeout": what.on_timeout, "until": until.isoformat()}
    note = journal.Entry(Kind.NOTE, row.step, None, "", detail)
    moves.move(row, "put_back", note, pause=waits, available_at=until, **fields)


def goes_on_at(row: Run | Branch) -> datetime:
    """When one that is tried again is due: now, or at the end of the pause in which it was ended."""
    now = database_now()
    until = (row.pause or {}).get("until")
    return max(now, datetime.fromisoformat(until)) if until else now


def take_kept(row: Run | Branch, name: str) -> bool:
    """Have the row's next visit read the oldest signal of that name that nobody has read. The run is locked."""
    kept = Signal.objects.filter(run=row.run_id, name=name, visit=None).order_by("id").first()
    if kept is None:
        return False
    kept.visit, kept.branch = row.visit + 1, row if isinstance(row, Branch) else None
    kept.save(update_fields=["visit", "branch"])
    return True


@insist
def timed_out(stretch: "Stretch", ctx: RunCtx) -> bool:
    """It was taken while it still waits: the time is over. A signal that came in between counts."""
    waited = stretch.run.pause
    with boundary.fenced(stretch.run) as row:
        text = f"no signal “{waited['name']}” came in time"
        late = journal.Entry(Kind.NOTE, row.step, None, "policy", {"text": text})
        if take_kept(row, waited["name"]):
            moves.move(row, "put_back", **arrival(row, waited["goto"]), available_at=Now())
        elif waited["on_timeout"] is not None:
            moves.move(row, "put_back", late, **arrival(row, waited["on_timeout"]), available_at=Now())
        else:  # a retry goes on without it: the step that waited has done its work
            error = row.error_here("WaitTimedOut", text)
            ending.fail(row, error, late, by="policy", **arrival(row, waited["goto"]))
            return False
        stop_if_requested(row)
        bell.ring_on_commit(row.run_id)
    return False
