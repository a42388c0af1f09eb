"""What a run has done to the world outside: by effect, whether it happened, did not, or nobody knows."""

from dataclasses import dataclass

from checkpoints.models import Checkpoint
from engine import undo_plan
from runs import lineage
from runs.models import Branch, Kind, Run
from workflows import registry
from workflows.steps import Step


@dataclass(frozen=True)
class Outside:
    """``state``: done, undone, unknown, doing, inherited (an origin did it), not_yet (it may still come to it) or not_done."""

    name: str
    state: str
    done: int = 0
    undone: int = 0
    unknown: int = 0

    @property
    def words(self) -> str:
        times = f" {self.done} times" if self.done > 1 else ""
        partly = f", {self.undone} of them undone" if self.undone else ""
        words = {
            "done": f"happened{times}{partly}",
            "undone": f"happened{times}, undone",
            "unknown": f"may have happened{f' in {self.unknown} branches' if self.unknown > 1 else ''}: nobody knows yet",
            "doing": f"happening now{f', {self.done} so far' if self.done else ''}",
            "inherited": "happened in the run that it was forked from",
            "not_yet": "not yet",
            "not_done": "did not happen",
        }
        return words[self.state]


def outside(run: Run) -> list[Outside]:
    """The effects of the run's workflow, in order; none where its definition is gone."""
    workflow = registry.known(run.workflow, run.version)
    if workflow is None:
        return []
    return [_of(run, step) for step in workflow.reading_order() if step.is_effect]


def _of(run: Run, step: Step) -> Outside:
    done = undo_plan.count(run.pk, step)
    undone = run.events.filter(kind=Kind.COMPENSATED, step__in=step.names).count() if run.rolls_back_from is not None else 0
    unknown = _unknown(run, step)
    if unknown:
        return Outside(step.name, "unknown", done, undone, unknown)
    if _is_at_it(run, step):
        return Outside(step.name, "doing", done, undone)
    if undone and undone >= done:
        return Outside(step.name, "undone", max(done, undone), undone)
    if done:
        return Outside(step.name, "done", done, undone)
    if run.forked_from_id is not None and _inherited(run, step):
        return Outside(step.name, "inherited")
    return Outside(step.name, "not_done" if run.is_final or run.rolls_back else "not_yet")


def _inherited(run: Run, step: Step) -> bool:
    """Whether a run that it came from did it: before the fork, or with a result that was taken."""
    if Checkpoint.objects.filter(run=run, step__in=step.names, reused_from__isnull=False).exists():
        return True
    above = {one.id: one for one in lineage.above(run.pk)}
    here = above[run.pk]
    while here.forked_from is not None:
        at = here.at_seq or 0
        taken = Checkpoint.objects.filter(run=here.forked_from, step__in=step.names, reused_from__isnull=False, seq__lte=at)
        if undo_plan.count(here.forked_from, step, to=at) or taken.exists():
            return True
        here = above[here.forked_from]
    return False


def _unknown(run: Run, step: Step) -> int:
    if step.is_branch:
        doubtful = Branch.objects.filter(run=run, doubt_at__isnull=False, step__in=step.names)
        return doubtful.count() if run.parts is not None else 0
    pending = (run.pause or {}).get("doubt") or {}
    return int((run.doubt_at is not None and run.step in step.names) or pending.get("step") in step.names)


def _is_at_it(run: Run, step: Step) -> bool:
    if step.is_branch:
        return run.is_fanned_out and Branch.objects.filter(run=run, worker__isnull=False, step__in=step.names).exists()
    return run.step in step.names and run.step_started_at is not None and not run.rolls_back
