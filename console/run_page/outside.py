"""What a run has done to the world outside: by effect, whether it happened, did not, or nobody knows."""

from dataclasses import dataclass

from engine import undo_plan
from runs.models import Branch, Kind, Run
from workflows import registry
from workflows.steps import Step


@dataclass(frozen=True)
class Outside:
    """``state``: done, undone, unknown, doing, not_yet (the run may still come to it) or not_done."""

    name: str
    state: str
    done: int = 0
    undone: int = 0
    unknown: int = 0

    @property
    def words(self) -> str:
        times = f" {self.done} times" if self.done > 1 else ""
        words = {
            "done": f"happened{times}",
            "undone": f"happened{times}, undone",
            "unknown": f"may have happened{f' in {self.unknown} branches' if self.unknown > 1 else ''}: nobody knows yet",
            "doing": f"happening now{f', {self.done} so far' if self.done else ''}",
            "not_yet": "not yet",
            "not_done": "did not happen",
        }
        return words[self.state]


def outside(run: Run) -> list[Outside]:
    """The effects of the run's workflow, in order; none where its definition is gone."""
    try:
        workflow = registry.version(run.workflow, run.version)
    except registry.WorkflowUnknown:
        return []
    effects = [step for step in workflow.reading_order() if step.is_effect]
    return [_of(run, step) for step in effects]


def _of(run: Run, step: Step) -> Outside:
    names = {step.name, *step.was}
    done = _done(run, step)
    undone = run.events.filter(kind=Kind.COMPENSATED, step__in=names).count() if run.rolls_back_from is not None else 0
    unknown = _unknown(run, step, names)
    if unknown:
        return Outside(step.name, "unknown", done, undone, unknown)
    if _is_at_it(run, step, names):
        return Outside(step.name, "doing", done, undone)
    state = ("undone" if undone >= done else "done") if done else "not_done" if run.is_final or run.rolls_back else "not_yet"
    return Outside(step.name, state, done, undone)


def _done(run: Run, step: Step) -> int:
    if step.is_branch and run.parts is not None and run.fan_out is not None and run.fan_out.part == step.name:
        return run.parts["succeeded"]  # counted already; looking into ten thousand branches takes a while
    return undo_plan.count(run.pk, step)


def _unknown(run: Run, step: Step, names: set[str]) -> int:
    if step.is_branch:
        return Branch.objects.filter(run=run, doubt_at__isnull=False, step__in=names).count() if run.parts is not None else 0
    pending = (run.pause or {}).get("doubt") or {}
    return int((run.doubt_at is not None and run.step in names) or pending.get("step") in names)


def _is_at_it(run: Run, step: Step, names: set[str]) -> bool:
    if step.is_branch:
        return run.parts is not None and bool(run.parts["running"]) and run.fan_out is not None and run.fan_out.part in names
    return run.step in names and run.step_started_at is not None and not run.rolls_back
