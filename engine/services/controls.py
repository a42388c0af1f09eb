"""What operators do to a run: cancel, hold, release, retry, and hold it before a step that is still to come.

``seq`` is what the operator saw: a run that has gone past it is left alone (RunMovedOn).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F, Max

from approvals.models import GateKind
from approvals.services import ending
from approvals.services.reopening import reopen
from checkpoints import current, store, totals
from engine import reusing
from engine.pausing import goes_on_at
from engine.services import settling
from engine.services.starting import InputInvalid, check_reason, deadline_from_now
from runs import bell
from runs.access import require
from runs.clock import Now
from runs.models import Act, Branch, FanOut, Kind, Run, Signal
from runs.moves import BRANCH_MOVES, BranchStatus, Requested, Status
from runs.services import audit, journal, moves
from workflows import masking, registry
from workflows import state as states

NOTE_LIMIT = 10_000  # characters


class RunMovedOn(moves.MoveRefused):
    """The run is past what the operator saw when they decided."""

    def __init__(self, run: Run, seq: int) -> None:
        self.run, self.move = run, "move on"
        Exception.__init__(self, f"The run has gone on since: it is at seq {run.seq}, and you saw seq {seq}. Look again.")


@transaction.atomic
def cancel(run_id: Any, *, by: Any, reason: str = "", seq: int | None = None) -> Run:
    """End the run: at once, or at the next boundary where a step is in flight. Raises MoveRefused, NotPermitted."""
    run = _locked(run_id, by, reason, seq)
    if not run.can_cancel:
        raise moves.MoveRefused(run, "cancel")
    _audit(run, by, Act.CANCELLED, reason)
    if run.status == Status.RUNNING:
        return _request(run, Requested.CANCEL, by, reason)
    settling.tell_rest(run)
    ending.cancel(run, by=by.get_username(), reason=reason)
    return run


@transaction.atomic
def hold(run_id: Any, *, by: Any, reason: str = "", seq: int | None = None) -> Run:
    """Keep the run from going on: at once, or at the next boundary. Raises MoveRefused, NotPermitted."""
    run = _locked(run_id, by, reason, seq)
    if not run.can_hold:
        raise moves.MoveRefused(run, "hold")
    _audit(run, by, Act.HELD, reason)
    if run.status == Status.RUNNING or run.worker is not None:
        return _request(run, Requested.HOLD, by, reason)
    entry = journal.Entry(Kind.HELD, run.step, None, by.get_username(), {"reason": reason})
    return moves.move(run, "hold", entry, reason=reason)


@transaction.atomic
def release(
    run_id: Any, *, by: Any, reason: str = "", changes: dict[str, Any] | None = None, seq: int | None = None
) -> Run:  # fmt: skip
    """Let a held run go on, or take back a hold that is not honoured yet. ``changes`` are set in its state first.

    Raises MoveRefused, NotPermitted, InputInvalid.
    """
    run = _locked(run_id, by, reason, seq)
    if not run.can_release:
        raise moves.MoveRefused(run, "release")
    _audit(run, by, Act.RELEASED, reason, changes)
    if changes:
        _check_changeable(run)
        _change_state(run, changes)
    raised = _raised(run)
    more = {"executes": run.step} if "reuse" in raised else {"raised": {name: str(value) for name, value in raised.items()}}
    detail = {"reason": reason, **(more if raised else {})}
    if changes:
        detail["changed"] = sorted(changes)
    entry = journal.Entry(Kind.RELEASED, run.step, None, by.get_username(), detail)
    if run.requested == Requested.HOLD:
        Run.objects.filter(pk=run.pk).update(requested=Requested.NOTHING, limit="")
        journal.record(run.pk, entry)
        moves.poke_on_commit(run)
        run.refresh_from_db()
        return run
    if run.fan_out_id is not None and not run.rolls_back:
        moves.record(run, entry)
        Run.objects.filter(pk=run.pk).update(reason="", limit="", **raised)
        settling.settle_locked(run)
        run.refresh_from_db()
        if run.rolls_back:  # a branch had failed meanwhile
            moves.move(run, "go_on_undoing")
    elif run.gates.open().filter(visit=run.visit).exists():
        moves.move(run, "release_to_wait", entry, reason="")
    elif run.rolls_back:
        moves.move(run, "go_on_undoing", entry, reason="")
    else:
        moves.move(run, "release", entry, reason="", limit="", **raised)
    bell.ring_on_commit(run.pk)
    return run


@transaction.atomic
def retry(
    run_id: Any, *, by: Any, reason: str = "", changes: dict[str, Any] | None = None, seq: int | None = None
) -> Run:  # fmt: skip
    """Go on from the failed step: same visit, same idempotency key. ``changes`` are set in the state first.

    An effect that certainly did not happen is a new visit, with a new key, when its inputs are changed (design.md §10).

    An effect that may have acted is verified before it runs. Raises MoveRefused, NotPermitted, InputInvalid.
    """
    run = _locked(run_id, by, reason, seq)
    if not run.can_retry:
        raise moves.MoveRefused(run, "retry")
    _audit(run, by, Act.RETRIED, reason, changes)
    if run.fan_out_id is not None:
        return _retry_branches(run, by, reason, changes)
    saved = totals.spared(run)
    place: dict[str, Any] = {"attempt": run.attempt + 1}
    if changes:
        _check_settled(run)
        _change_state(run, changes)
        place["pause"] = None  # what was decided about the state as it was is asked again
        if registry.version(run.workflow, run.version).is_effect(run.step):
            place = {"visit": run.visit + 1, "attempt": 1, "saved": None}
            _move_along(run)
    detail = {"reason": reason, "changed": sorted(changes or {}), "saved": saved.as_json()}
    entry = journal.Entry(Kind.RETRIED, run.step, place["attempt"], by.get_username(), detail)
    moves.move(
        run, "retry", entry, error=None, reason="", failures=0, losses=0, available_at=goes_on_at(run),
        deadline_at=deadline_from_now(run), **place, **saved.added(),
    )  # fmt: skip
    bell.ring_on_commit(run.pk)
    return run


def _move_along(run: Run) -> None:
    """What the step read in its old visit it reads in the new one too: the branches that it joins, and its signal."""
    FanOut.objects.filter(run=run, join_visit=run.visit).update(join_visit=run.visit + 1)
    Signal.objects.filter(run=run, visit=run.visit, branch=None).update(visit=run.visit + 1)


def _retry_branches(run: Run, by: Any, reason: str, changes: dict[str, Any] | None) -> Run:
    """The failed branches go on, each with its own key; those that are done stay so, and gates are asked again."""
    if changes:
        raise InputInvalid({"changes": "the branches see the state as it was when they were sent; retry without changes"})
    if run.fan_out is not None and run.fan_out.all_told:  # it failed as it was joined
        settling.mark_told(run.fan_out.branches.filter(told_at=None), run.seq)
        FanOut.objects.filter(pk=run.fan_out.pk).update(all_told=False)
    failed = Branch.objects.filter(fan_out=run.fan_out_id, status=BranchStatus.FAILED)
    indexes = list(failed.order_by("index").values_list("index", flat=True))
    for branch in Branch.objects.filter(fan_out=run.fan_out_id, status__in=(BranchStatus.WAITING, BranchStatus.FAILED)):
        branch.run = run
        if branch.status == BranchStatus.WAITING or _has_asked(branch):
            reopen(branch)
    paused = list(failed.filter(pause__isnull=False))
    failed.update(
        status=BRANCH_MOVES["retry"][1], attempt=F("attempt") + 1, failures=0, losses=0, error=None, told_at=None,
        finished_at=None, available_at=Now(), updated_at=Now(), boundary=F("boundary") + 1,
    )  # fmt: skip
    for branch in paused:  # it was ended while it waited
        Branch.objects.filter(pk=branch.pk).update(available_at=goes_on_at(branch))
    detail = {"reason": reason, "changed": [], "branches": indexes[:100]}
    moves.record(run, journal.Entry(Kind.RETRIED, run.step, None, by.get_username(), detail))
    Run.objects.filter(pk=run.pk).update(error=None, reason="", losses=0, failures=0, deadline_at=deadline_from_now(run))
    run.refresh_from_db()
    settling.settle_locked(run)
    bell.ring_on_commit(run.pk)
    return run


def _has_asked(branch: Branch) -> bool:
    """Whether it stopped at what its step has asked: that step is done, and not run again."""
    return branch.gates.filter(visit=branch.visit, kind=GateKind.APPROVAL).exists()


@transaction.atomic
def roll_back(run_id: Any, *, by: Any, reason: str = "", seq: int | None = None) -> Run:
    """Undo the run's effects: at once, or from the next boundary where a step is in flight.

    Raises MoveRefused, NotPermitted: only admins roll back.
    """
    require(by, "administer")
    run = _locked(run_id, by, reason, seq)
    if not run.can_roll_back:
        raise moves.MoveRefused(run, "roll_back")
    _audit(run, by, Act.ROLLED_BACK, reason)
    ending.roll_back(run, by=by.get_username(), reason=reason)
    return run


@transaction.atomic
def set_breakpoint(run_id: Any, *, by: Any, step: str) -> Run:
    """Hold the run before ``step`` starts, once. Raises MoveRefused, NotPermitted, InputInvalid."""
    run = _locked(run_id, by, "", None)
    if run.is_final:
        raise moves.MoveRefused(run, "breakpoint")
    workflow = registry.version(run.workflow, run.version)
    if step not in workflow.steps:
        raise InputInvalid({"step": f"one of {', '.join(workflow.steps)} was expected, not {step[:100]!r}"})
    if step not in run.breakpoints:
        audit.record(by, Act.NOTED, run=run, changed={"breakpoint": step})
        _noted(run, by, {"act": "breakpoint", "text": f"breakpoint set before {step}"}, breakpoints=[*run.breakpoints, step])
    return run


@transaction.atomic
def clear_breakpoint(run_id: Any, *, by: Any, step: str) -> Run:
    """Take a breakpoint back. Raises NotPermitted; one that is not there is no error."""
    run = _locked(run_id, by, "", None)
    if step in run.breakpoints:
        kept = [other for other in run.breakpoints if other != step]
        audit.record(by, Act.NOTED, run=run, changed={"breakpoint_taken_back": step})
        _noted(run, by, {"act": "breakpoint", "text": f"breakpoint before {step} taken back"}, breakpoints=kept)
    return run


@transaction.atomic
def add_note(run_id: Any, *, by: Any, text: str) -> Run:
    """Write a person's words into the run's journal, whatever its status. Raises NotPermitted, InputInvalid."""
    if not text.strip() or len(text) > NOTE_LIMIT or "\0" in text:
        raise InputInvalid({"text": f"text of 1 to {NOTE_LIMIT} characters, without NUL, was expected"})
    run = _locked(run_id, by, "", None)
    audit.record(by, Act.NOTED, run=run, changed={"text": text})
    return _noted(run, by, {"text": text})


def _noted(run: Run, by: Any, detail: dict[str, Any], **changes: Any) -> Run:
    """Journal what a person did beside moving the run, and change the row. It is locked: a boundary sees it, or came before."""
    if changes:
        Run.objects.filter(pk=run.pk).update(**changes)
    journal.record(run.pk, journal.Entry(Kind.NOTE, run.step, None, by.get_username(), detail))
    moves.poke_on_commit(run)
    run.refresh_from_db()
    return run


def _audit(run: Run, by: Any, act: Act, reason: str = "", changes: Mapping[str, Any] | None = None) -> None:
    """What the operator saw of the run, and the state's fields that they set; secrets are masked."""
    shown = masking.masked(registry.schema(run.workflow, run.version), changes) if changes else None
    seen = {"status": run.status, "step": run.step, "seq": run.seq}
    audit.record(by, act, run=run, reason=reason, seen=seen, changed=shown)


def _locked(run_id: Any, by: Any, reason: str, seq: int | None) -> Run:
    require(by, "operate")
    check_reason(reason)
    run = moves.lock(run_id)
    if seq is not None and run.seq > seq:
        raise RunMovedOn(run, seq)
    return run


def _raised(run: Run) -> dict[str, Any]:
    """A run held at a limit is released with as much again; the journal's ``released`` entry says so."""
    if not run.limit:
        return {}
    if run.limit == reusing.LIMIT:
        return {"reuse": reusing.released(run, registry.version(run.workflow, run.version).find(run.step))}
    workflow = registry.version(run.workflow, run.version)
    if run.limit == "max_steps":
        farthest = run.branches.filter(fan_out=run.fan_out_id).aggregate(most=Max("visit"))["most"] if run.fan_out_id else None
        return {"steps_allowed": max(run.visit, farthest or 0) - 1 + workflow.max_steps}
    return {"cost_allowed": run.cost_usd + Decimal(str(workflow.max_cost_usd or 0))}


def _request(run: Run, what: Requested, by: Any, reason: str) -> Run:
    """Ask the worker to stop at its next boundary."""
    verb = {"cancel": "asked to cancel", "hold": "asked to hold"}[what]
    if run.worker is None:  # its branches have it; where none is in a step, the request is honoured at once
        run_id = run.pk
        transaction.on_commit(lambda: settling.settle(run_id), robust=True)
    return _noted(run, by, {"act": "request", "text": verb, "reason": reason}, requested=what, reason=reason)


def _check_changeable(run: Run) -> None:
    """A state may be changed where nobody is looking at it: not in a step, and not behind a gate's proposal."""
    _check_settled(run)
    if run.is_decided:
        text = "what people have decided about the state as it is is still to be carried out; release it without changes"
        raise InputInvalid({"changes": text})
    if run.fan_out_id is not None or run.rolls_back:
        where = "its branches see it" if not run.rolls_back else "the run rolls back"
        raise InputInvalid({"changes": f"the state cannot be changed while {where}; release it without changes"})
    if run.status == Status.RUNNING or run.gates.open().filter(visit=run.visit).exists():
        where = "a step is in flight" if run.status == Status.RUNNING else "people are asked about the state as it is"
        raise InputInvalid({"changes": f"the state cannot be changed while {where}; release it without changes"})


def _check_settled(run: Run) -> None:
    """``verify`` looks the effect up by the state that it was given; with another one it would not find what happened."""
    if run.doubt_at is not None and registry.version(run.workflow, run.version).is_effect(run.step):
        text = f"nobody knows yet whether {run.step!r} happened with the state as it is; go on without changes first"
        raise InputInvalid({"changes": text})


def _change_state(run: Run, changes: dict[str, Any]) -> None:
    workflow = registry.version(run.workflow, run.version)
    found = current.at(run.pk, workflow.state, run.seq)
    updates = {name: states.Replace(value) for name, value in changes.items()}
    try:
        change = states.apply(found.state, found.values, updates)
    except states.StateInvalid as error:
        raise InputInvalid({f"changes.{name}": text for name, text in error.errors.items()}) from None
    store.write_change(run, workflow.state, change, found.since, next_step=run.step, step="")
