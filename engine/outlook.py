"""What will happen when a person acts on a run, in words: what is kept, what acts outside, what it usually takes."""

from decimal import Decimal
from typing import Any

from checkpoints.models import Checkpoint
from engine import usual
from runs.models import Run
from workflows import Workflow, registry
from workflows.durations import words
from workflows.errors import StepGone
from workflows.steps import Gate, Step


def of_retry(run: Run) -> str:
    """Of trying again from where it failed."""
    parts = run.parts
    if parts is not None:
        branches = "branch" if parts["failed"] == 1 else "branches"
        return (
            f"{parts['failed']} failed {branches} tried again, with the same idempotency key; "
            f"{parts['queued'] + parts['waiting']} that had not ended go on; {parts['succeeded']} finished stay as they are. "
            "What may have acted is looked up, or asked of a person, first."
        )
    kept = Checkpoint.objects.filter(run=run).exclude(step="").count()
    text = f"{kept} finished step{'' if kept == 1 else 's'} kept. {run.step} runs again with the same idempotency key"
    workflow = registry.known(run.workflow, run.version)
    ahead = _ahead(workflow, run.step) if workflow is not None else []
    if not ahead:
        return f"{text}; if it may have acted, that is looked up, or asked of a person, first."
    first = ahead[0]
    if isinstance(first, Gate):
        return f"{text.partition('. ')[0]}. People are asked at {first.name}. {_then(run, ahead)}"
    if first.is_effect:
        looked = "its outcome is looked up first" if first.verify else "a person is asked first whether it happened"
        text += f"; it acts outside, and {looked}" if run.doubt_at is not None else "; it acts outside, and has not happened"
    return f"{text}. {_then(run, ahead)}"


def of_release(run: Run) -> str:
    """Of letting a held run go on."""
    workflow = registry.known(run.workflow, run.version)
    ahead = _ahead(workflow, run.step) if workflow is not None and not run.rolls_back else []
    text = "It goes on exactly where it is held; a hold that is only asked for is taken back."
    return f"{text} {_then(run, ahead)}" if ahead else text


def of_cancel(run: Run) -> str:
    """Of ending it where it is."""
    text = "It ends after the step in flight. What has happened outside stays; open gates are withdrawn."
    return (
        text
        if run.step_started_at is not None
        else "It ends at once. What has happened outside stays; open gates are withdrawn."
    )


def _then(run: Run, ahead: list[Step]) -> str:
    """What lies ahead, as it usually goes."""
    effects = [step.name for step in ahead[1:] if step.is_effect]
    gates = [step.name for step in ahead[1:] if isinstance(step, Gate)]
    text = f"After it {', '.join(effects)} act{'s' if len(effects) == 1 else ''} outside. " if effects else ""
    text += f"People may be asked at {', '.join(gates)}. " if gates else ""
    known = usual.of(run.workflow)
    often = [known[step.name] for step in ahead if step.name in known]
    if not often:
        return text.strip()
    cost = sum((one.cost_usd for one in often), Decimal(0))
    spent = f"${cost:.2f}, " if cost >= 1 else f"${cost:.4f}, " if cost else ""
    return f"{text}What is left usually takes {spent}{words(sum(one.seconds for one in often))}, without the time of people."


def _ahead(workflow: Workflow[Any], name: str) -> list[Step]:
    """From that step on, in the order of definition; loops are not foreseen."""
    try:
        found = workflow.find(name)
    except (StepGone, LookupError):
        return []
    steps = list(workflow.steps.values())
    return steps[steps.index(found) :] if found in steps else [found]
