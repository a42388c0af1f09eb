"""What will happen on each verdict, as Holdfast knows it: from the workflow's definition, not from what it wrote."""

from dataclasses import dataclass
from typing import Any

from approvals.models import Gate, GateKind, Verdict, in_words
from approvals.services.tallying import tally
from workflows import Workflow, registry
from workflows.durations import words
from workflows.errors import StepGone
from workflows.steps import Gate as GateStep

DONE = ""  # where a branch goes that leads to no other step


@dataclass(frozen=True)
class Outside:
    """An effect that the gate's approval lets happen. Empty texts: it has no such function."""

    name: str
    undone_by: str
    looked_up_by: str
    is_bound: bool  # it runs only with the arguments that were approved


def outside(gate: Gate) -> list[Outside]:
    """What approving lets happen outside: the effects that name the gate, or else the step that follows."""
    if gate.kind != GateKind.APPROVAL:
        return []
    try:
        workflow = registry.version(gate.run.workflow, gate.run.version)
        following = gate.goto or _after(workflow, gate)
    except (registry.WorkflowUnknown, StepGone):
        return []
    every = workflow.all_steps
    found = [step for step in every.values() if step.approved_by == gate.step]
    if not found and following in every and every[following].is_effect:
        found = [every[following]]
    return [Outside(step.name, _name(step.compensate), _name(step.verify), step.approved_by is not None) for step in found]


def _name(function: Any) -> str:
    name = getattr(function, "__name__", "") if function else ""
    return "a function of the workflow" if name == "<lambda>" else name


def consequences(gate: Gate) -> dict[str, str]:
    """A sentence per verdict that the gate allows, and one for its timeout."""
    try:
        workflow = registry.version(gate.run.workflow, gate.run.version)
        following = "" if gate.kind == GateKind.UNDO else gate.goto or _after(workflow, gate)
    except (registry.WorkflowUnknown, StepGone):
        return {}
    if gate.kind == GateKind.UNDO:
        found = {
            Verdict.RETRY: f"Undoing “{gate.step}” is tried again, with the same key. If that fails too, this is asked again.",
            Verdict.DONE_BY_HAND: "It counts as undone, by you; write how. The roll back goes on with the effect before it.",
            Verdict.FAIL: f"“{gate.step}” may still stand, and what happened before it does. The run ends as failed; an admin "
            "can roll it back once more.",
        }
    elif gate.kind == GateKind.OUTCOME:
        found = {
            Verdict.HAPPENED: f"{_goes_on(workflow, following)} Nothing is sent again.",
            Verdict.NOT_HAPPENED: f"“{gate.step}” runs again and changes the world outside. If it did happen after all, and "
            "the other side ignores the idempotency key, it happens twice.",
            Verdict.FAIL: "This branch fails, and the join is told. The others go on."
            if _is_collected(gate)
            else "The run ends as failed. Nothing more happens; an operator's retry would ask this again.",
        }
    else:
        found = {
            Verdict.APPROVE: f"{_missing(gate, fresh=False)}{_goes_on(workflow, following)}",
            Verdict.EDIT: f"{_missing(gate, fresh=True)}Your changes are set in the state. {_goes_on(workflow, following)}",
            Verdict.REJECT: f"{_vetoes(gate)}{_rejected(workflow, gate, following)}",
            Verdict.RESPOND: f"Your words go to the agent, which goes on at “{gate.on_respond}”.",
        }
    shown = {str(verdict): text for verdict, text in found.items() if verdict in gate.verdicts}
    return {
        **shown,
        "timeout": timeout_in_words(gate.on_timeout) if gate.due_at else "This gate waits until somebody decides.",
    }


def _missing(gate: Gate, *, fresh: bool) -> str:
    """How many votes are still wanted after this one; an edit begins anew."""
    votes = tally(gate)
    left = votes.needed - 1 - (0 if fresh else votes.got)
    return f"Your vote counts; {left} more {'is' if left == 1 else 'are'} needed. Then: " if left > 0 else ""


def _vetoes(gate: Gate) -> str:
    left = gate.veto - 1 - tally(gate).vetoes
    return f"It counts; {left} more rejection{'s' * (left > 1)} end{'s' * (left == 1)} it. Then: " if left > 0 else ""


def _after(workflow: Workflow[Any], gate: Gate) -> str:
    return DONE if gate.branch_id is not None else workflow.after(gate.step) or "end"


def _is_collected(gate: Gate) -> bool:
    """Whether the gate's branch may fail without its run."""
    return gate.branch is not None and gate.branch.fan_out.on_failure == "collect"


def _goes_on(workflow: Workflow[Any], step: str) -> str:
    if step == DONE:
        return "This branch is done. The run goes on when all of them are."
    following = workflow.steps.get(step) or workflow.branches.get(step)
    if following is None:
        return "The run ends as succeeded."
    if isinstance(following, GateStep):
        return f"“{step}” comes next, and may ask people again before anything happens outside."
    parts = [workflow.branches[name] for name in following.then if name in workflow.branches]
    acting = [part for part in parts if part.is_effect]
    if acting and not following.is_effect:
        names = ", ".join(f"“{part.name}”" for part in acting)
        undo = "" if all(part.compensate for part in acting) else " It cannot be undone by Holdfast."
        return f"“{step}” runs next and sends out branches of {names}, each of which changes the world outside.{undo}"
    if not following.is_effect:
        return f"“{step}” runs next; it changes nothing outside."
    undo = "" if following.compensate else " It cannot be undone by Holdfast."
    return f"“{step}” runs next. It changes the world outside.{undo}"


def _rejected(workflow: Workflow[Any], gate: Gate, following: str) -> str:
    target = gate.on_reject
    if target == "roll_back":
        return "The run is rolled back: what it has done outside is undone, the last effect first."
    if target == "end" and _is_collected(gate):
        return "This branch ends without a result. The others go on."
    if target == "end":
        return "The run ends as rejected. Nothing more happens."
    return _goes_on(workflow, following if target == "next" else target)


def then(gate: Gate) -> str:
    """In two words what happens when the clock runs out: ``rejected``, ``escalates to finance-leads``."""
    choice = gate.on_timeout
    if gate.due_at is None:
        return ""
    if isinstance(choice, dict):
        return f"escalates to {in_words(name.partition(':')[2] for name in choice['escalate'])}"
    return {"reject": "rejected", "approve": "approved", "fail": "the run fails", "keep": "goes on waiting"}.get(choice, "")


def timeout_in_words(choice: Any) -> str:
    """What the policy does when nobody decides in time."""
    if isinstance(choice, dict):
        names = [name.partition(":")[2] for name in choice["escalate"]]
        later = timeout_in_words(choice["then"])
        return f"{in_words(names)} may decide too, for {words(choice['timeout'])}; after that: {later}"
    return {
        "reject": "rejected.",
        "approve": "approved without a person.",
        "fail": "the run fails.",
        "keep": "it goes on waiting.",
    }.get(str(choice), "")
