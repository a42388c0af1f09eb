"""What a fork takes over from the run that it came from: the decisions made before it began, and identical approvals after."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from approvals.models import AGREED, Decision, Gate, GateKind, GateStatus
from approvals.services import policies
from approvals.services.opening import Question, proposal_hash, proposal_of
from approvals.services.outcome import is_put_off
from checkpoints import store
from checkpoints.models import Checkpoint
from engine import boundary, endings
from engine.context import RunCtx
from engine.insisting import insist
from engine.services.starting import InputInvalid
from runs import bell, lineage
from runs.clock import Now
from runs.models import Kind, Run, new_id
from runs.places import arrival
from runs.services import journal, moves
from workflows import Replace, Workflow
from workflows import state as states
from workflows.steps import Gate as GateStep

if TYPE_CHECKING:
    from engine.stretch import Stretch


def decisions_until(origin: Run, at: Checkpoint, fork: Run, workflow: Workflow[Any]) -> None:
    """Copy the gates that were decided before the fork begins, so that its steps read them.

    Of a step whose last approval does not hold here none is taken, so that an older one cannot stand in for it: the gate is
    asked again before the effect that needs it.
    """
    gates = Gate.objects.filter(run=origin, branch=None, status=GateStatus.DECIDED, kind=GateKind.APPROVAL)
    decided = list(gates.filter(final_at__lte=at.at).order_by("visit", "opened_at", "ordinal"))
    last = {gate.step: gate for gate in decided}
    refused = {step for step, gate in last.items() if not _holds(gate, origin, fork, workflow)}
    for gate in decided:
        if gate.step not in refused:
            _copy(gate, fork, visit=gate.visit)


def _holds(gate: Gate, origin: Run, fork: Run, workflow: Workflow[Any]) -> bool:
    """Whether an approval counts in the fork: under the same policy, made here, and not by whoever starts the fork."""
    step = workflow.steps.get(gate.step)
    if gate.outcome_verdict not in AGREED:
        return True
    if not isinstance(step, GateStep):
        if not _may_take(gate, fork.starters):
            text = f"who forks the run has approved “{gate.title}”, and may not approve the fork; fork from before that"
            raise InputInvalid({"seq": text})
        return True
    if step.revalidate is not None:  # its facts may be old by now; the effect that needs it has it asked
        return False
    same = gate.policy == _policy(fork.workflow, gate.key, step.policy.as_json(), gate)
    return origin.imported_at is None and same and _may_take(gate, fork.starters)


def _policy(workflow: str, key: str, policy: Mapping[str, Any], gate: Gate) -> Mapping[str, Any]:
    """The policy under which the gate would open now; where a function names the approvers, with those that it named then."""
    found = policies.effective(workflow, key, policy)
    return found if found["approvers"] is not None else {**found, "approvers": gate.policy["approvers"]}


def _may_take(gate: Gate, starters: Iterable[int]) -> bool:
    """Whether an approval was not given by somebody who may not approve the fork."""
    theirs = Q(by__in=starters) | Q(holder__in=starters)
    return gate.allow_self or not gate.decisions.agreeing().filter(theirs).exists()


def find(run: Any, question: Question) -> Gate | None:
    """An approval of the same proposal, under the same policy, by people, in a run that this one was forked from.

    The latest decision on that proposal has to agree, and each approval counts once.
    """
    if run.forked_from is None:
        return None
    ancestors = {one.forked_from for one in lineage.above(run.id) if one.forked_from is not None}
    starters = Run.objects.values_list("starters", flat=True).get(pk=run.id)
    used = set(Gate.objects.filter(run=run.id).values_list("carried_from", flat=True))
    gates = Gate.objects.filter(run__in=ancestors, branch=None, step=run.step, key=question.key, kind=GateKind.APPROVAL)
    found = gates.filter(status=GateStatus.DECIDED).select_related("run").order_by("-final_at").prefetch_related("decisions")
    decided = [gate for gate in found if not is_put_off(gate.run, gate)]  # what can still be taken back is none yet
    policy = policies.effective(run.workflow, question.key, question.policy)
    same = [gate for gate in decided if gate.policy == policy and _is_same(gate, question)]
    if not same or same[0].outcome_verdict not in AGREED:
        return None
    for gate in same:
        votes = [one for one in gate.decisions.all() if one.agrees]
        by_people = bool(votes) and all(one.by_id is not None for one in votes)
        agreed = gate.outcome_verdict in AGREED and by_people and _may_take(gate, starters) and not _clashes(gate, votes, run)
        if agreed and (gate.carried_from_id or gate.pk) not in used:
            return gate
    return None


def _clashes(gate: Gate, votes: list[Decision], run: Any) -> bool:
    """Whether one of its approvers has approved a gate of this run too that wants different people."""
    agreed = Decision.objects.agreeing().filter(gate__run=run.id, by__in=[vote.by_id for vote in votes])
    others = agreed.values_list("gate__key", "gate__distinct_from")
    return any(key in gate.distinct_from or gate.key in distinct_from for key, distinct_from in others)


def _is_same(gate: Gate, question: Question) -> bool:
    """Whether the gate's proposal, as it was before anybody edited it, is the question's."""
    action = gate.action
    if action is not None and "proposed" in action:
        action = {**{name: value for name, value in action.items() if name != "proposed"}, "args": action["proposed"]}
    then, now = {**proposal_of(gate), "action": action}, proposal_of(question)
    return proposal_hash(gate.step, then) == proposal_hash(gate.step, now)


@insist
def carry(stretch: "Stretch", gate: Gate, ctx: RunCtx) -> bool:
    """The gate's own boundary where nobody need be asked again: the decision is taken over, and the journal says from where."""
    run = stretch.run
    args = (gate.action or {}).get("args", {}) if gate.merges else {}
    updates = {name: Replace(value) for name, value in args.items() if name in type(stretch.state).model_fields}
    change = states.apply(stretch.state, stretch.values, updates)
    target = stretch.target(None)
    with boundary.fenced(run) as row:
        if row.requested:
            run.requested = row.requested
            return True
        copied = _copy(gate, row, visit=row.visit)
        detail = {"gate": str(copied.id), "title": gate.title, "verdict": gate.outcome_verdict, "final": True,
                  "carried_from": str(gate.run_id)}  # fmt: skip
        decided = journal.Entry(Kind.DECIDED, row.step, row.attempt, gate.outcome_by, detail)
        moves.record(row, decided)
        store.write_change(  # without a start: nobody worked here
            run, stretch.workflow.state, change, run.since, next_step=target, usage=ctx.used.as_json(), logs=ctx.logs()
        )
        ctx.outcome = "done"
        moves.move(row, "put_back", **arrival(row, target), available_at=Now(), **endings.spend(row, ctx, kept=True))
        bell.ring_on_commit(run.id)
    return False


def _copy(gate: Gate, run: Run, *, visit: int) -> Gate:
    """The gate with its valid decisions, as one of ``run``."""
    decisions = list(gate.decisions.standing())
    copied = Gate.objects.get(pk=gate.pk)
    copied.pk, copied.run, copied.visit, copied._state.adding = new_id(), run, visit, True
    copied.carried_from_id = gate.carried_from_id or gate.pk  # where people decided it
    copied.save(force_insert=True)
    Decision.objects.bulk_create(_copied(one, copied) for one in decisions)
    return copied


def _copied(decision: Decision, gate: Gate) -> Decision:
    fields = ("verdict", "by_id", "by_name", "holder_id", "groups", "bypass", "channel", "comment", "args", "replaced",
              "version", "proposal_hash", "at")  # fmt: skip
    return Decision(gate=gate, **{name: getattr(decision, name) for name in fields})
