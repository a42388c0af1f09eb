"""Carrying out what people have decided, where that was put off: to be taken back for a moment, or to be revalidated first."""

from typing import TYPE_CHECKING, Any

from approvals.models import Gate
from approvals.services import outcome, reopening
from approvals.services.opening import Question, proposal_hash, proposal_of
from engine import attempt, boundary, endings, gates
from engine.context import RunCtx
from engine.insisting import insist
from engine.requests import stop_if_requested
from runs.models import Branch, Run
from runs.moves import BRANCH_FINAL, FINAL
from workflows import Replace
from workflows import state as states
from workflows.attempts import Failure
from workflows.steps import Gate as GateStep

if TYPE_CHECKING:
    from engine.stretch import Stretch


def carry_out(stretch: "Stretch") -> bool:
    """The run's part in this worker's hands is over then: it is queued at what follows, waits again, or has ended."""
    ctx = RunCtx(stretch.run)
    found = outcome.decided(_row(stretch))
    again: Question | Failure | None = None
    if len(found) == 1 and outcome.to_revalidate(found[0].run, found[0]):
        step = stretch.workflow.find(found[0].step)
        assert isinstance(step, GateStep)
        again = _revalidated(stretch, step, found[0], ctx)
    if isinstance(again, Failure):
        return endings.failed_attempt(stretch.run, stretch.workflow.find(found[0].step), again, ctx)
    return _carried_out(stretch, found, again, ctx)


@insist
def _carried_out(stretch: "Stretch", found: list[Gate], again: Question | None, ctx: RunCtx) -> bool:
    with boundary.fenced(stretch.run) as row:
        ctx.outcome = "waits" if again is not None else "done"
        if again is not None:
            reopening.ask_again(row, found[0], again)
        else:
            outcome.carry_out(row, found)
        type(row).objects.filter(pk=row.pk).update(**endings.spend(row, ctx))
        row.refresh_from_db()
        if row.status not in (BRANCH_FINAL if isinstance(row, Branch) else FINAL):
            stop_if_requested(row)
    return False


def _row(stretch: "Stretch") -> Any:
    """The run or branch as it is stored; nobody else moves it while this worker has it."""
    part = stretch.run.part
    return Run.objects.get(pk=stretch.run.id) if part is None else Branch.objects.get(pk=part.pk)


def _revalidated(stretch: "Stretch", step: GateStep, gate: Gate, ctx: RunCtx) -> Question | Failure | None:
    """What is to be asked again, since it is not what was approved; None where it is."""
    args = (gate.action or {}).get("args", {})
    updates = {name: Replace(value) for name, value in args.items() if name in type(stretch.state).model_fields}
    change = states.apply(stretch.state, stretch.values, updates)
    assert step.revalidate is not None
    fresh = attempt.call(step.revalidate, (change.state, ctx), step.timeout, step)
    if fresh is None or isinstance(fresh, Failure):
        return fresh
    question = gates.asked(step, fresh, gate.policy, change.state, change.values, ctx)
    if isinstance(question, Failure) or not _is_approved(gate, question):
        return question
    return None


def _is_approved(gate: Gate, question: Question) -> bool:
    """Whether the fresh proposal is the one that was approved."""
    then, now = proposal_of(gate), proposal_of(question)
    action = then["action"]
    if action is not None and "proposed" in action:  # edited: its words tell of the original, and do not count
        then |= {
            "title": now["title"],
            "summary": now["summary"],
            "action": {name: value for name, value in action.items() if name != "proposed"},
            "context": {name: action["args"].get(name, value) for name, value in then["context"].items()},
        }
    return proposal_hash(gate.step, then) == proposal_hash(gate.step, now)
