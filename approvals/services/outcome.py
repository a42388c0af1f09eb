"""What follows when a gate is settled."""

from collections.abc import Mapping
from typing import Any

from approvals.models import Decision, Gate, GateKind, GateStatus, Verdict
from approvals.refusals import InvalidDecision
from checkpoints import store
from runs import bell
from runs.clock import Now
from runs.models import Kind, Run
from runs.moves import Status
from runs.services import journal, moves
from workflows import Workflow, registry
from workflows import state as states


def close(run: Run, gate: Gate, decision: Decision) -> None:
    """Close the gate with this decision; when no sibling is open, move the run on. Raises InvalidDecision."""
    gate.status, gate.final_at = GateStatus.DECIDED, decision.at
    gate.outcome_verdict, gate.outcome_by = decision.verdict, decision.by_name
    gate.save(update_fields=["status", "final_at", "outcome_verdict", "outcome_by"])
    siblings = _opened_with(run, gate)
    if any(sibling.is_open for sibling in siblings):
        moves.poke_on_commit(run)
        return
    if gate.kind == GateKind.OUTCOME:
        _settle_effect(run, gate, decision)
        return
    rejected = next((one for one in siblings if one.outcome_verdict == Verdict.REJECT), None)
    failed = next((one for one in siblings if one.outcome_verdict == Verdict.FAIL), None)
    if failed is not None:
        fail(run, f"{failed.title}: nobody decided in time", by=decision.by_name, comment=decision.comment)
    elif rejected is not None and rejected.on_reject == "end":
        comment = rejected.decisions.filter(verdict=Verdict.REJECT, voided_at=None).values_list("comment", flat=True)
        _end(run, "reject", rejected.outcome_by, next(iter(comment), ""))
    else:
        _go_on(run, siblings, rejected)


def _opened_with(run: Run, gate: Gate) -> list[Gate]:
    """The gates of the same boundary, itself included."""
    if gate.together == 1:
        return [gate]
    same = Gate.objects.filter(run=run, visit=gate.visit, opened_at=gate.opened_at).order_by("ordinal")
    return list(same.exclude(status=GateStatus.WITHDRAWN))


def fail(run: Run, message: str, *, by: str, comment: str = "") -> None:
    """End the run as failed at its gate."""
    _end(run, "fail", by, comment, error=run.error_here("GateFailed", message))


def _end(run: Run, move: str, by: str, reason: str, **fields: Any) -> None:
    to = "rejected" if move == "reject" else "failed"
    detail = {"status": to, "reason": reason, **({"error": fields["error"]} if "error" in fields else {})}
    moves.move(run, move, journal.Entry(Kind.ENDED, run.step, None, by, detail), reason=reason, **fields)


def _go_on(run: Run, gates: list[Gate], rejected: Gate | None) -> None:
    workflow = registry.version(run.workflow, run.version)
    responded = next((gate for gate in gates if gate.outcome_verdict == Verdict.RESPOND), None)
    merged: dict[str, Any] = {}
    if rejected is not None and rejected.on_reject != "next":
        target = rejected.on_reject
    elif responded is not None:
        target = responded.on_respond
    else:
        target = gates[0].goto or workflow.after(run.step) or "end"
        for gate in gates:
            if gate.merges and gate.action and gate.outcome_verdict in (Verdict.APPROVE, Verdict.EDIT):
                merged |= {name: value for name, value in gate.action["args"].items() if name in workflow.state.model_fields}
    checkpoint(run, workflow, merged)
    resume(run, target)


def _settle_effect(run: Run, gate: Gate, decision: Decision) -> None:
    """An outcome gate: the person knows what happened, and the effect is settled with that."""
    workflow = registry.version(run.workflow, run.version)
    if decision.verdict == Verdict.HAPPENED:
        checkpoint(run, workflow, decision.args or {}, joined=True)
        resume(run, workflow.after(run.step) or "end")
    elif decision.verdict == Verdict.NOT_HAPPENED:
        resume(run, run.step, visit=run.visit, attempt=run.attempt + 1, saved=run.saved)
    else:
        fail(run, f"{gate.title}: {decision.by_name} ended the run", by=decision.by_name, comment=decision.comment)


def checkpoint(run: Run, workflow: Workflow[Any], updates: dict[str, Any], *, joined: bool = False) -> None:
    """Write the step's checkpoint with ``updates`` set in the state, or ``joined`` with it as a step's result is.

    Raises InvalidDecision that names the fields.
    """
    if not updates:  # the state need not be read for that
        store.write_change(run, workflow.state.schema_version, None, store.Since())
        return
    loaded = store.load(run.pk, run.seq)
    change = applied(workflow, loaded, updates, joined=joined)
    store.write_change(run, workflow.state.schema_version, change, loaded.since)


def applied(
    workflow: Workflow[Any], loaded: store.Loaded, updates: Mapping[str, Any], *, joined: bool = False
) -> states.Change:
    """The state with ``updates``. Raises InvalidDecision that names the fields which the schema refuses."""
    given = updates if joined else {name: states.Replace(value) for name, value in updates.items()}
    try:
        return states.apply(workflow.state.parse(loaded.values), loaded.values, given)
    except states.StateInvalid as error:
        raise InvalidDecision({f"args.{name}": text for name, text in error.errors.items()}) from None


def check_edit(run: Run, args: Mapping[str, Any]) -> None:
    """Refuse at once what could never be merged, not when the last of several approvers agrees."""
    workflow = registry.version(run.workflow, run.version)
    fields = {name: value for name, value in args.items() if name in workflow.state.model_fields}
    applied(workflow, store.load(run.pk, run.seq), fields)


def resume(run: Run, target: str, **fields: Any) -> None:
    """Queue the run at ``target`` as a new visit (unless ``fields`` say otherwise) and ring a worker after the commit.

    A held run is only put there: decisions go on while it is held, the run does not.
    """
    place: dict[str, Any] = {
        "step": target,
        "visit": run.visit + 1,
        "attempt": 1,
        "failures": 0,
        "losses": 0,
        "doubt_at": None,
        "doubt_reason": "",
        "saved": None,
        "available_at": Now(),
        **fields,
    }
    if run.status == Status.HELD:
        Run.objects.filter(pk=run.pk).update(**place, updated_at=Now())
        moves.poke_on_commit(run)
        return
    moves.move(run, "resume", **place)
    bell.ring_on_commit(run.pk)
