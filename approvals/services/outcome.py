"""What follows when a gate is settled."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from approvals.models import AGREED, Decision, Gate, GateKind, GateStatus, Verdict
from approvals.refusals import InvalidDecision
from approvals.services import ending
from checkpoints import current, store
from runs import bell
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run
from runs.moves import BranchStatus, Status
from runs.places import arrival, finished_step
from runs.services import journal, moves
from workflows import Workflow, joining, registry
from workflows import state as states
from workflows.steps import Gate as GateStep


def close(run: Run, gate: Gate, decision: Decision, *, undo: timedelta) -> None:
    """Close the gate with this decision; when no sibling is open, move the run on, or its branch. Raises InvalidDecision.

    ``undo``: for how long the decision may still be taken back. Then, and where the gate is to be revalidated, nothing follows
    yet: the run is queued where it stands, and whoever claims it carries the decision out (engine/decided.py).
    """
    gate.status, gate.final_at = GateStatus.DECIDED, decision.at
    gate.outcome_verdict, gate.outcome_by = decision.verdict, decision.by_name
    gate.save(update_fields=["status", "final_at", "outcome_verdict", "outcome_by"])
    siblings = opened_with(gate)
    row = run if gate.branch_id is None else moves.lock_branch(gate.branch_id, run)
    if any(sibling.is_open for sibling in siblings):
        moves.poke_on_commit(run)
        return
    if gate.branch_id is not None:  # the branch moves; whoever hears the bell looks what becomes of its run
        if run.status == Status.WAITING:
            moves.move(run, "branches_move")
        bell.ring_on_commit(run.pk)
    is_waiting = row.status in (Status.WAITING, BranchStatus.WAITING)
    if gate.kind != GateKind.UNDO and ((is_waiting and undo) or to_revalidate(run, gate)):
        _put_off(row, siblings, decision, undo)
    else:
        carry_out(row, siblings, decision)


def to_revalidate(run: Run, gate: Gate) -> bool:
    """Whether the workflow looks once more at what was approved, before it goes on."""
    if not gate.merges or gate.kind != GateKind.APPROVAL or gate.outcome_verdict not in AGREED:
        return False
    step = registry.version(run.workflow, run.version).find(gate.step)
    return isinstance(step, GateStep) and step.revalidate is not None


def decided(row: Run | Branch) -> list[Gate]:
    """The gates whose decisions are still to be carried out; the row says that there are such (``is_decided``)."""
    ids = [UUID(one) for one in (row.pause or {})["gates"]]
    return list(Gate.objects.filter(id__in=ids).select_related("run", "branch").order_by("ordinal"))


def carry_out(row: Run | Branch, gates: Sequence[Gate], decision: Decision | None = None) -> None:
    """Do what the decided gates of one boundary lead to; ``decision`` closed the last. The row is locked.

    Raises InvalidDecision.
    """
    last = max(gates, key=lambda gate: gate.final_at or gate.opened_at)
    decision = decision or list(last.decisions.standing())[-1]
    if last.kind == GateKind.UNDO:
        assert isinstance(row, Run)
        _settle_undo(row, last, decision)
    elif last.kind == GateKind.OUTCOME:
        _settle_effect(row, last, decision)
    else:
        _settle_all(row, list(gates), decision)


def is_put_off(row: Run | Branch, gate: Gate) -> bool:
    """Whether it is this gate's decision that is still to be carried out."""
    return row.is_decided and str(gate.pk) in (row.pause or {})["gates"]


def _put_off(row: Run | Branch, gates: Sequence[Gate], decision: Decision, undo: timedelta) -> None:
    """Queue it where it stands, with the decision still to be carried out. A held run is queued when it is released."""
    if decision.verdict == Verdict.HAPPENED:  # what could not be carried out is refused now
        _check_result(row, decision.args or {})
    at = database_now() + undo
    pause = {"kind": "decided", "gates": [str(gate.pk) for gate in gates], "until": at.isoformat()}
    if row.status == Status.HELD:
        Run.objects.filter(pk=row.run_id).update(available_at=at, pause=pause, updated_at=Now())
        moves.poke_on_commit(row)
        return
    moves.move(row, "resume", available_at=at, pause=pause)
    if not undo:
        bell.ring_on_commit(row.run_id)


def _check_result(row: Run | Branch, updates: dict[str, Any]) -> None:
    run = row.run if isinstance(row, Branch) else row
    workflow = registry.version(run.workflow, run.version)
    if isinstance(row, Branch):
        _branch_part(row, workflow, updates)
    else:
        applied(current.at(run.pk, workflow.state, run.seq), updates, joined=True)


def opened_with(gate: Gate) -> list[Gate]:
    """The gates of the same boundary, itself included."""
    if gate.together == 1:
        return [gate]
    same = Gate.objects.filter(run=gate.run_id, branch=gate.branch_id, visit=gate.visit, opened_at=gate.opened_at)
    return list(same.exclude(status=GateStatus.WITHDRAWN).order_by("ordinal"))


def _settle_all(row: Run | Branch, gates: list[Gate], decision: Decision) -> None:
    rejected = next((one for one in gates if one.outcome_verdict == Verdict.REJECT), None)
    failed = next((one for one in gates if one.outcome_verdict == Verdict.FAIL), None)
    if failed is not None:
        fail(row, f"{failed.title}: nobody decided in time", by=decision.by_name, comment=decision.comment)
    elif rejected is not None and rejected.on_reject in ("end", "roll_back"):
        reason = decision.comment if decision.gate_id == rejected.pk else _words_of(rejected)
        if rejected.on_reject == "end":
            ending.reject(row, by=rejected.outcome_by, reason=reason)
        else:
            _roll_back(row, by=rejected.outcome_by, reason=reason)
    else:
        _go_on(row, gates, rejected)


def _words_of(gate: Gate) -> str:
    """Why it was rejected, by whoever ended it."""
    comments = gate.decisions.standing().filter(verdict=Verdict.REJECT).order_by("-id").values_list("comment", flat=True)
    return comments.first() or ""


def _roll_back(row: Run | Branch, *, by: str, reason: str) -> None:
    if isinstance(row, Branch):
        ending.reject(row, by=by, reason=reason)
        if row.run.status != Status.HELD:
            ending.roll_back(row.run, by=by, reason=reason)
            return
        row = row.run
    ending.begin_roll_back(row, by=by, reason=reason, stays_held=True)


def fail(row: Run | Branch, message: str, *, by: str, comment: str = "") -> None:
    """End it as failed at its gate."""
    ending.fail(row, row.error_here("GateFailed", message), by=by, reason=comment)


def _go_on(row: Run | Branch, gates: list[Gate], rejected: Gate | None) -> None:
    run = row.run if isinstance(row, Branch) else row
    workflow = registry.version(run.workflow, run.version)
    responded = next((gate for gate in gates if gate.outcome_verdict == Verdict.RESPOND), None)
    merged: dict[str, Any] = {}
    if rejected is not None and rejected.on_reject != "next":
        target = rejected.on_reject
    elif responded is not None:
        target = responded.on_respond
    else:
        target = gates[0].goto or _after(row, workflow)
        for gate in gates:
            if gate.merges and gate.action and gate.outcome_verdict in (Verdict.APPROVE, Verdict.EDIT):
                merged |= {name: value for name, value in gate.action["args"].items() if name in workflow.state.model_fields}
    if isinstance(row, Run):  # a branch has kept its step's updates, and an Ask merges nothing
        checkpoint(row, workflow, merged, next_step=target)
    resume(row, target)


def _after(row: Run | Branch, workflow: Workflow[Any]) -> str:
    return "end" if isinstance(row, Branch) else workflow.after(row.step) or "end"


def _settle_effect(row: Run | Branch, gate: Gate, decision: Decision) -> None:
    """An outcome gate: the person knows what happened, and the effect is settled with that."""
    run = row.run if isinstance(row, Branch) else row
    workflow = registry.version(run.workflow, run.version)
    if decision.verdict == Verdict.HAPPENED and isinstance(row, Branch):
        branch_checkpoint(row, workflow, decision.args or {})
        resume(row, "end")
    elif decision.verdict == Verdict.HAPPENED:
        target = workflow.after(run.step) or "end"
        checkpoint(run, workflow, decision.args or {}, joined=True, next_step=target)
        resume(run, target)
    elif decision.verdict == Verdict.NOT_HAPPENED:
        resume(row, row.step, visit=row.visit, attempt=row.attempt + 1, saved=row.saved)
    else:
        fail(row, f"{gate.title}: {decision.by_name} ended the run", by=decision.by_name, comment=decision.comment)


def _settle_undo(run: Run, gate: Gate, decision: Decision) -> None:
    """An undo gate: the compensation is tried again, or was done by hand, or the run ends with it undone."""
    if decision.verdict == Verdict.FAIL:
        error = run.error_here("NotUndone", f"{gate.title}: {decision.by_name} ended the roll back{_before(run)}")
        ending.fail(run, error, by=decision.by_name, reason=decision.comment)
        return
    if decision.verdict == Verdict.DONE_BY_HAND:
        known = {name: gate.context[name] for name in ("effect", "effect_key", "effect_seq", "branch") if name in gate.context}
        detail = {**known, "by_hand": True, "result": None, "comment": decision.comment}
        moves.record(run, journal.Entry(Kind.COMPENSATED, gate.step, None, decision.by_name, detail))
    fields = {"attempt": run.attempt + 1, "failures": 0, "losses": 0, "available_at": Now(), "saved": None}
    if run.status == Status.HELD:
        Run.objects.filter(pk=run.pk).update(**fields, updated_at=Now())
        moves.poke_on_commit(run)
        return
    moves.move(run, "go_on_undoing", **fields)
    bell.ring_on_commit(run.pk)


def _before(run: Run) -> str:
    """The error for which it was rolled back, so that it is not forgotten."""
    return f" (before: {run.error['type']}: {run.error['message']})"[:500] if run.error else ""


def checkpoint(run: Run, workflow: Workflow[Any], updates: dict[str, Any], *, next_step: str, joined: bool = False) -> None:
    """Write the step's checkpoint with ``updates`` set in the state, or ``joined`` with it as a step's result is.

    Raises InvalidDecision that names the fields.
    """
    if not updates:  # the state need not be read for that
        store.write_change(run, workflow.state, None, store.unread(run.pk), next_step=next_step)
        return
    found = current.at(run.pk, workflow.state, run.seq)
    change = applied(found, updates, joined=joined)
    store.write_change(run, workflow.state, change, found.since, next_step=next_step)


def branch_checkpoint(branch: Branch, workflow: Workflow[Any], updates: dict[str, Any]) -> None:
    """Keep ``updates`` as what the branch's step returned. Raises InvalidDecision that names the fields."""
    part = _branch_part(branch, workflow, updates)
    branch.done = [*branch.done, finished_step(branch, part, at=database_now())]
    Branch.objects.filter(pk=branch.pk).update(done=branch.done)


def _branch_part(branch: Branch, workflow: Workflow[Any], updates: dict[str, Any]) -> dict[str, Any]:
    found = current.at(branch.run_id, workflow.state, branch.fan_out.seq)
    try:
        seen = joining.with_parts(found.state, found.values, branch.done)
        change = states.apply(seen.state, seen.values, updates)
        return joining.part(seen.state, seen.values, change)
    except states.StateInvalid as error:
        raise InvalidDecision({f"args.{name}": text for name, text in error.errors.items()}) from None


def applied(found: current.Current, updates: Mapping[str, Any], *, joined: bool = False) -> states.Change:
    """The state with ``updates``. Raises InvalidDecision that names the fields which the schema refuses."""
    given = updates if joined else {name: states.Replace(value) for name, value in updates.items()}
    try:
        return states.apply(found.state, found.values, given)
    except states.StateInvalid as error:
        raise InvalidDecision({f"args.{name}": text for name, text in error.errors.items()}) from None


def check_edit(run: Run, args: Mapping[str, Any]) -> None:
    """Refuse at once what could never be merged, not when the last of several approvers agrees."""
    workflow = registry.version(run.workflow, run.version)
    fields = {name: value for name, value in args.items() if name in workflow.state.model_fields}
    applied(current.at(run.pk, workflow.state, run.seq), fields)


def resume(row: Run | Branch, target: str, **fields: Any) -> None:
    """Queue it at ``target`` as a new visit (unless ``fields`` say otherwise) and ring a worker after the commit.

    A branch whose target is ``end`` is done. A held run is only put there: decisions go on while it is held, the run does not.
    """
    place: dict[str, Any] = {**arrival(row, target), "available_at": Now(), **fields}
    move = "put_back" if row.worker is not None else "resume"  # a worker carries it out, or whoever decides
    if isinstance(row, Branch):
        moves.move(row, "finish" if target == "end" else move, **place)
    elif row.status == Status.HELD:
        Run.objects.filter(pk=row.pk).update(**place, updated_at=Now())
        moves.poke_on_commit(row)
        return
    else:
        moves.move(row, move, **place)
    bell.ring_on_commit(row.run_id)
