"""What operators do to a run: cancel, hold, release, retry."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from approvals.services.withdrawing import withdraw_all
from checkpoints import store
from engine.services.starting import InputInvalid
from runs import bell
from runs.access import require
from runs.clock import Now
from runs.models import Kind, Run
from runs.moves import Requested, Status
from runs.services import journal, moves
from workflows import registry
from workflows import state as states

REASON_LIMIT = 2000  # characters


@transaction.atomic
def cancel(run_id: Any, *, by: Any, reason: str = "") -> Run:
    """End the run: at once, or at the next boundary where a step is in flight. Raises MoveRefused, NotPermitted."""
    require(by, "operate")
    run = moves.lock(run_id)
    _check_reason(reason)
    if run.status == Status.RUNNING and run.requested != Requested.CANCEL:
        return _request(run, Requested.CANCEL, by, reason)
    if run.is_final or run.requested == Requested.CANCEL:
        raise moves.MoveRefused(run, "cancel")
    withdraw_all(run, by=by.get_username(), reason="the run was cancelled")
    detail = {"reason": reason}
    cancelled = journal.Entry(Kind.CANCELLED, run.step, None, by.get_username(), detail)
    ended = journal.Entry(Kind.ENDED, run.step, None, by.get_username(), {"status": "cancelled", "reason": reason})
    return moves.move(run, "cancel", cancelled, ended, reason=reason)


@transaction.atomic
def hold(run_id: Any, *, by: Any, reason: str = "") -> Run:
    """Keep the run from going on: at once, or at the next boundary. Raises MoveRefused, NotPermitted."""
    require(by, "operate")
    run = moves.lock(run_id)
    _check_reason(reason)
    if run.status == Status.RUNNING and not run.requested:
        return _request(run, Requested.HOLD, by, reason)
    if not run.can_hold:
        raise moves.MoveRefused(run, "hold")
    entry = journal.Entry(Kind.HELD, run.step, None, by.get_username(), {"reason": reason})
    return moves.move(run, "hold", entry, reason=reason)


@transaction.atomic
def release(run_id: Any, *, by: Any, reason: str = "") -> Run:
    """Let a held run go on, or take back a hold that is not honoured yet. Raises MoveRefused, NotPermitted."""
    require(by, "operate")
    run = moves.lock(run_id)
    _check_reason(reason)
    raised = _raised(run)
    detail = {"reason": reason, **({"raised": {name: str(value) for name, value in raised.items()}} if raised else {})}
    entry = journal.Entry(Kind.RELEASED, run.step, None, by.get_username(), detail)
    if run.requested == Requested.HOLD:
        Run.objects.filter(pk=run.pk).update(requested=Requested.NOTHING)
        journal.record(run.pk, entry)
        moves.poke_on_commit(run)
        run.refresh_from_db()
        return run
    if run.gates.open().filter(visit=run.visit).exists():
        return moves.move(run, "release_to_wait", entry, reason="")
    moves.move(run, "release", entry, reason="", limit="", **raised)
    bell.ring_on_commit(run.pk)
    return run


@transaction.atomic
def retry(run_id: Any, *, by: Any, reason: str = "", changes: dict[str, Any] | None = None) -> Run:
    """Go on from the failed step: same visit, same idempotency key. ``changes`` are set in the state first.

    An effect that may have acted is verified before it runs. Raises MoveRefused, NotPermitted, InputInvalid.
    """
    require(by, "operate")
    run = moves.lock(run_id)
    _check_reason(reason)
    if not run.can_retry:
        raise moves.MoveRefused(run, "retry")
    if changes:
        _change_state(run, changes)
    detail = {"reason": reason, "changed": sorted(changes or {})}
    entry = journal.Entry(Kind.RETRIED, run.step, run.attempt + 1, by.get_username(), detail)
    moves.move(run, "retry", entry, error=None, reason="", failures=0, losses=0, attempt=run.attempt + 1, available_at=Now())
    bell.ring_on_commit(run.pk)
    return run


def _raised(run: Run) -> dict[str, Any]:
    """A run held at a limit is released with as much again; the journal's ``released`` entry says so."""
    if not run.limit:
        return {}
    workflow = registry.version(run.workflow, run.version)
    if run.limit == "max_steps":
        return {"steps_allowed": run.visit - 1 + workflow.max_steps}
    return {"cost_allowed": run.cost_usd + Decimal(str(workflow.max_cost_usd or 0))}


def _request(run: Run, what: Requested, by: Any, reason: str) -> Run:
    """Ask the worker to stop at its next boundary. The row is locked, so its boundary sees it or came before."""
    Run.objects.filter(pk=run.pk).update(requested=what, reason=reason)
    verb = {"cancel": "asked to cancel", "hold": "asked to hold"}[what]
    detail = {"text": verb, "reason": reason}
    journal.record(run.pk, journal.Entry(Kind.NOTE, run.step, None, by.get_username(), detail))
    moves.poke_on_commit(run)
    run.refresh_from_db()
    return run


def _change_state(run: Run, changes: dict[str, Any]) -> None:
    workflow = registry.version(run.workflow, run.version)
    loaded = store.load(run.pk, run.seq)
    updates = {name: states.Replace(value) for name, value in changes.items()}
    try:
        change = states.apply(workflow.state.parse(loaded.values), loaded.values, updates)
    except states.StateInvalid as error:
        raise InputInvalid({f"changes.{name}": text for name, text in error.errors.items()}) from None
    store.write_change(run, workflow.state.schema_version, change, loaded.since)


def _check_reason(reason: str) -> None:
    if len(reason) > REASON_LIMIT or "\0" in reason:
        raise InputInvalid({"reason": f"text of at most {REASON_LIMIT} characters, without NUL, was expected"})
