"""Which effects a run has had, and which of them are still to be undone."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from checkpoints import current
from checkpoints.models import Checkpoint
from engine.claim import Claimed
from runs import hot
from runs.models import Branch, Event, FanOut, Kind
from workflows import Workflow, codec, joining
from workflows import state as states
from workflows.keys import branch_name, visit_key
from workflows.steps import Step

LAST = 2**62  # what is in doubt happened last, if it did

_IN_BRANCHES = """
SELECT count(*) FROM runs_branch AS branch JOIN runs_fanout AS sent ON sent.id = branch.fan_out_id,
       jsonb_array_elements(branch.done) AS kept
WHERE branch.run_id = %(run)s AND sent.seq <= %(to)s AND %(names)s::jsonb ? (kept->>'step')
"""


@dataclass(frozen=True)
class Doubt:
    """An effect of unknown outcome, as the run or its branch left it."""

    at: datetime
    reason: str
    saved: Any
    happened: bool  # it has: only its result was refused


@dataclass(frozen=True)
class Effect:
    """One effect, and when it happened: by the run's counter, and within a fan-out by the clock."""

    step: Step
    key: str
    seq: int
    at: str = ""
    branch: Branch | None = None
    count: int = 0  # of the branch's finished steps, itself included
    doubt: Doubt | None = None

    @property
    def order(self) -> tuple[int, str, int]:
        return (LAST if self.doubt and self.branch is None else self.seq, self.at or "~", self.count)

    def state(self, run: Claimed, workflow: Workflow[Any]) -> states.Change:
        """The state of its own checkpoint, or the one that it was tried with. Raises what ``current.at`` does."""
        found = current.at(run.id, workflow.state, self.seq)
        return joining.with_parts(found.state, found.values, self.branch.done[: self.count] if self.branch else ())


@dataclass(frozen=True)
class Plan:
    """``ahead`` in the order in which they happened, so that the last is undone first; ``left``: nobody can undo these."""

    ahead: list[Effect]
    left: list[str]


def make(run: Claimed, workflow: Workflow[Any]) -> Plan:
    """What is to be undone: each effect that this run executed itself, and that was not compensated yet.

    Raises StepGone where nobody knows any more what a step that it went through was.
    """
    for name in _names(run):
        workflow.find(name)
    events = Event.objects.filter(run_id=run.id, kind=Kind.COMPENSATED).values_list("detail", flat=True)
    undone = {codec.loads(detail or "{}").get("effect_key") for detail in events}
    found = {effect.key: effect for effect in (*_of_run(run, workflow), *_of_branches(run, workflow))}  # a part, then all
    effects = sorted((effect for effect in found.values() if effect.key not in undone), key=lambda one: one.order)
    left = list(dict.fromkeys(effect.step.name for effect in effects if effect.step.compensate is None))
    return Plan([effect for effect in effects if effect.step.compensate is not None], left)


def count(run_id: uuid.UUID, step: Step, *, to: int = LAST) -> int:
    """How often the run has done the effect, up to a ``seq``, for people who are about to roll it back."""
    if step.is_branch:
        return int(hot.one(_IN_BRANCHES, {"run": run_id, "names": codec.dumps(list(step.names)).decode(), "to": to})[0])
    done = Checkpoint.objects.filter(run_id=run_id, step__in=step.names, reused_from=None, seq__lte=to)
    return done.values("visit").distinct().count()


def _names(run: Claimed) -> set[str]:
    """The steps that have left something, or may have: the run's, and those of its branches."""
    names = set(Checkpoint.objects.filter(run_id=run.id).exclude(step="").values_list("step", flat=True).distinct())
    for done in Branch.objects.filter(run=run.id).exclude(done=[]).values_list("done", flat=True).iterator():
        names |= {kept["step"] for kept in done}
    names |= set(Branch.objects.filter(run=run.id, doubt_at__isnull=False).values_list("step", flat=True))
    doubt = (run.pause or {}).get("doubt")
    return names | ({doubt["step"]} if doubt and doubt["step"] != "end" else set())


def _has_happened(run: Claimed, step: str, key: str) -> bool:
    """Whether an attempt has said so whose result the state's schema refused."""
    failed = Event.objects.filter(run_id=run.id, kind=Kind.ATTEMPT_FAILED, step=step, detail__contains='"happened":true')
    return any(codec.loads(detail or "{}").get("key") == key for detail in failed.values_list("detail", flat=True))


def _effects(steps: Mapping[str, Step]) -> dict[str, Step]:
    """Those that act outside, by their names now and once."""
    effects = [step for step in steps.values() if step.is_effect]
    return {name: step for step in effects for name in step.names}


def _of_run(run: Claimed, workflow: Workflow[Any]) -> Iterator[Effect]:
    effects = _effects(workflow.steps)
    rows = Checkpoint.objects.filter(run_id=run.id, step__in=effects, reused_from=None).order_by("seq")
    for seq, step, visit in rows.values_list("seq", "step", "visit"):
        yield Effect(effects[step], visit_key(run.id, step, visit), seq)
    doubt = (run.pause or {}).get("doubt")
    if doubt is not None and doubt["step"] in effects:
        key = visit_key(run.id, doubt["step"], doubt["visit"])
        happened = _has_happened(run, effects[doubt["step"]].name, key)
        why = Doubt(datetime.fromisoformat(doubt["at"]), doubt["reason"], doubt["saved"], happened)
        yield Effect(effects[doubt["step"]], key, run.seq, doubt=why)


def _of_branches(run: Claimed, workflow: Workflow[Any]) -> Iterator[Effect]:
    effects = _effects(workflow.branches)
    if not effects:
        return
    for fan_out in FanOut.objects.filter(run=run.id):
        for branch in Branch.objects.filter(fan_out=fan_out).exclude(done=[], doubt_at=None).iterator():
            name = branch_name(fan_out.seq, branch.index)
            for number, kept in enumerate(branch.done, 1):
                if kept["step"] in effects:
                    key = visit_key(run.id, kept["step"], kept["visit"], name)
                    yield Effect(effects[kept["step"]], key, fan_out.seq, kept["at"], branch, number)
            if branch.doubt_at is not None and branch.step in effects:
                key = visit_key(run.id, branch.step, branch.visit, name)
                happened = _has_happened(run, branch.step, key)
                why = Doubt(branch.doubt_at, branch.doubt_reason, branch.saved, happened)
                yield Effect(effects[branch.step], key, fan_out.seq, "", branch, len(branch.done), why)
