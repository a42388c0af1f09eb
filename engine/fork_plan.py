"""What a fork would be: where it begins, with which state, what runs again, and whose recorded results can be taken instead."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkpoints import blob, current, packing, sealing, store, verifying
from checkpoints.models import Checkpoint
from checkpoints.packing import HERE
from engine.reusing import joined_by
from engine.services.starting import FORK_KEY, InputInvalid
from runs.models import Branch, Event, FanOut, Kind, Run
from workflows import Workflow, codec, masking, registry
from workflows import state as states
from workflows.keys import visit_key
from workflows.masking import Sealed
from workflows.steps import Step

REUSE, EXECUTE = MODES = ("reuse", "execute")
Modes = str | Mapping[str, str]


@dataclass(frozen=True)
class Ahead:
    """A step that the fork comes to. ``recorded``: how often the origin has done it since; ``mode``: of a recorded effect."""

    step: Step
    recorded: int
    mode: str = ""
    differs: tuple[str, ...] = ()  # the changed fields that it sees, for which its result cannot be taken
    why_not: str = ""  # why its result cannot be taken in any case


@dataclass(frozen=True)
class Plan:
    """``visits``: by effect, the origin's checkpoints of each visit whose result is taken."""

    origin: Run
    at: Checkpoint
    workflow: Workflow[Any]
    step: str
    found: current.Current
    change: states.Change | None
    kept: list[str]
    ahead: list[Ahead]
    visits: dict[str, list[list[int]]] = field(default_factory=dict)

    @property
    def visit(self) -> int:
        """The number of the fork's first visit: the one that followed, or that a person's change came into."""
        by_hand = self.at.step == "" and self.at.seq > 0
        return self.at.visit if by_hand else self.at.visit + 1

    def check(self) -> None:
        """Raises InputInvalid that names each effect whose recorded result was wanted and cannot be taken."""
        errors = {}
        for one in self.ahead:
            if one.mode == REUSE and (one.differs or one.why_not):
                seen = one.why_not or f"it saw {', '.join(one.differs)}, which would differ"
                errors[f"effects.{one.step.name}"] = f"its recorded result cannot be reused: {seen}; choose {EXECUTE!r}"
        if errors:
            raise InputInvalid(errors)


def make(
    origin: Run, seq: int, *, changes: Mapping[str, Any] | None = None, effects: Modes = REUSE, version: str | None = None
) -> Plan:
    """Raises CheckpointMissing, HistoryBroken, WorkflowUnknown, StepGone, StateUnreadable; InputInvalid names each field."""
    at = _checkpoint(origin, seq)
    workflow = _workflow(origin, version)
    step = at.next_step if at.next_step == "end" else workflow.current_name(at.next_step)
    if step == "end":
        raise InputInvalid({"seq": f"nothing is left to run after seq {at.seq}; fork from an earlier checkpoint"})
    found, change = _state(origin, at, workflow, changes or {})
    modes = _modes(workflow, effects)
    visits = _recorded(origin, workflow, at)
    changed = _changed(change)
    ahead = [_ahead(origin, at, workflow, one, visits, modes, changed) for one in _following(workflow, step)]
    taken = {one.step.name: visits[one.step.name] for one in ahead if one.mode == REUSE and one.step.name in visits}
    kept = Checkpoint.objects.filter(run=origin, seq__lte=at.seq).exclude(step="").order_by("seq")
    return Plan(origin, at, workflow, step, found, change, list(kept.values_list("step", flat=True)), ahead, taken)


def _checkpoint(origin: Run, seq: int) -> Checkpoint:
    """The checkpoint at or before ``seq``, whose history is proven up to it."""
    if seq > origin.seq:
        raise InputInvalid({"seq": f"the run is at seq {origin.seq}; there is no checkpoint at or before {seq} yet"})
    at = store.find(origin.pk, seq)
    report = verifying.verify(origin, to=at.seq)
    if not report.is_sound:
        raise store.HistoryBroken(origin.pk, report.breaks[0].seq, report.breaks[0].why)
    if at.next_step == HERE:
        before = Checkpoint.objects.filter(run=origin, seq__lt=at.seq).exclude(next_step=HERE).order_by("-seq").first()
        after = Checkpoint.objects.filter(run=origin, seq__gt=at.seq).exclude(next_step=HERE).order_by("seq").first()
        others = " or ".join(f"seq {one.seq}" for one in (before, after) if one is not None)
        raise InputInvalid({"seq": f"seq {at.seq} lies in the middle of step {at.step!r}; fork from {others}"})
    return at


def places(origin: Run, *, around: int, limit: int = 50) -> list[Checkpoint]:
    """Checkpoints that a fork can begin with, the newest first: those next to ``around``, none beyond a known break."""
    rows = Checkpoint.objects.filter(run=origin, delta__isnull=False).exclude(next_step__in=(HERE, "end"))
    if origin.broken_at is not None:
        rows = rows.filter(seq__lt=origin.broken_at)
    rows = rows.defer("delta", "keyframe")
    later = list(rows.filter(seq__gt=around).order_by("seq")[: limit // 2])[::-1]
    return [*later, *rows.filter(seq__lte=around).order_by("-seq")[: limit - len(later)]]


def last_place(origin: Run) -> int:
    """The last checkpoint that a fork can begin with; where there is none, the last entry, of which ``make`` says why not."""
    found = places(origin, around=origin.seq, limit=1)
    return found[0].seq if found else origin.seq


def _workflow(origin: Run, version: str | None) -> Workflow[Any]:
    if version is None:
        return registry.version(origin.workflow, origin.version)
    known = [one for one in registry.all_versions() if one.name == origin.workflow]
    chosen = next((one for one in known if one.version == version), None)
    if chosen is None:
        registry.newest(origin.workflow)  # the other error
        raise InputInvalid({"version": f"one of {', '.join(one.version for one in known)} was expected, not {version[:100]!r}"})
    return chosen


def _state(
    origin: Run, at: Checkpoint, workflow: Workflow[Any], changes: Mapping[str, Any]
) -> tuple[current.Current, states.Change | None]:
    """The state at the checkpoint, and what ``changes`` make of it. A secret that does not open has to be among them."""
    loaded = store.load(origin.pk, at.seq)
    given = {name: value for name, value in changes.items() if isinstance(loaded.values.get(name), Sealed)}
    try:
        loaded.values.update(sealing.opened(origin.pk, loaded.values))
    except sealing.SecretsLocked:
        locked = {name for name, value in loaded.values.items() if isinstance(value, Sealed)} - set(given)
        if locked:
            raise InputInvalid(
                {f"changes.{name}": "this secret cannot be read here, and a new value is needed" for name in sorted(locked)}
            ) from None
        loaded.values.update(given)
    try:
        found = current.of(origin.pk, workflow.state, loaded)
        if not changes:
            return found, None
        updates = {name: states.Replace(value) for name, value in changes.items()}
        return found, states.apply(found.state, found.values, updates)
    except states.StateInvalid as error:
        raise InputInvalid({f"changes.{name}": text for name, text in error.errors.items()}) from None


def _modes(workflow: Workflow[Any], effects: Modes) -> dict[str, str]:
    """By effect; one that is not named is not done again."""
    known = [step.name for step in workflow.all_steps.values() if step.is_effect]
    if isinstance(effects, str):
        if effects not in MODES:
            raise InputInvalid({"effects": f"'reuse', 'execute', or one of them by step, was expected, not {effects[:100]!r}"})
        return dict.fromkeys(known, effects)
    errors = {
        f"effects.{name[:100]}": f"one of the effects {', '.join(known) or '(there is none)'} was expected"
        for name in effects
        if name not in known
    }
    errors |= {
        f"effects.{name}": f"'reuse' or 'execute' was expected, not {mode!r}"
        for name, mode in effects.items()
        if name in known and mode not in MODES
    }
    if errors:
        raise InputInvalid(errors)
    return {**dict.fromkeys(known, REUSE), **effects}


def _recorded(origin: Run, workflow: Workflow[Any], at: Checkpoint) -> dict[str, list[list[int]]]:
    """What the origin has done since: by effect, the checkpoints of each visit, the last of which ended it."""
    names = {name: step.name for step in workflow.steps.values() if step.is_effect for name in step.names}
    rows = Checkpoint.objects.filter(run=origin, seq__gt=at.seq, step__in=names, delta__isnull=False).order_by("seq")
    visits: dict[str, dict[int, list[int]]] = {}
    for seq, step, visit in rows.values_list("seq", "step", "visit"):
        visits.setdefault(names[step], {}).setdefault(visit, []).append(seq)
    return {name: list(found.values()) for name, found in visits.items()}


def _ahead(
    origin: Run, at: Checkpoint, workflow: Workflow[Any], step: Step, visits: dict[str, list[list[int]]], modes: dict[str, str],
    changed: set[str],
) -> Ahead:  # fmt: skip
    mine = visits.get(step.name, [])
    recorded = _done_in_branches(origin, at, step) if step.is_branch and step.is_effect else len(mine)
    why_not = _why_not(origin, at, step, mine) if step.is_effect else ""
    if not step.is_effect or not (recorded or why_not):
        return Ahead(step, recorded)
    seen = changed if step.needs is None else changed & (set(step.needs) | _joined(origin, workflow, mine))
    return Ahead(step, recorded, modes[step.name], tuple(sorted(seen)), why_not)


def _joined(origin: Run, workflow: Workflow[Any], visits: list[list[int]]) -> set[str]:
    """The fields whose old value counts in the effect's recorded results."""
    seqs = [seq for visit in visits for seq in visit]
    rows = Checkpoint.objects.filter(run=origin, seq__in=seqs).values_list("delta", flat=True)
    return joined_by(workflow, [packing.read(blob.unpack(delta)) for delta in rows if delta is not None])


def _why_not(origin: Run, at: Checkpoint, step: Step, visits: list[list[int]]) -> str:
    """Why the effect's recorded results cannot be taken, or that it may have happened without one; whatever it saw."""
    if step.is_branch:
        return "it was done in branches, which are sent out anew" if _done_in_branches(origin, at, step) else ""
    if _may_have_happened(origin, at, step.names):
        return "it may have happened, or has, without a result that could be taken"
    if any(name in (origin.reuse or {}).get("visits", {}) for name in step.names):
        return "the run has not come to its own recorded result yet; fork the run that it came from"
    rows = Checkpoint.objects.filter(run=origin, seq__in=[visit[-1] for visit in visits])
    if rows.filter(next_step=HERE).exists():
        return "it went on by asking people, or by sending out branches"
    undone = Event.objects.filter(run=origin, kind=Kind.COMPENSATED).values_list("detail", flat=True)
    keys = {codec.loads(detail or "{}").get("effect_key") for detail in undone}
    if any(visit_key(origin.pk, row.step, row.visit) in keys for row in rows):
        return "it was undone since"
    return ""


def _may_have_happened(origin: Run, at: Checkpoint, names: Sequence[str]) -> bool:
    """In doubt, in flight, or done with a result that the schema refused."""
    pending = (origin.pause or {}).get("doubt") or {}
    if pending.get("step") in names:
        return True
    if origin.step in names and not origin.rolls_back and (origin.doubt_at is not None or origin.step_started_at is not None):
        return True
    failed = Event.objects.filter(run=origin, seq__gt=at.seq, kind=Kind.ATTEMPT_FAILED, step__in=names)
    return failed.filter(detail__contains='"happened":true').exists()


def _done_in_branches(origin: Run, at: Checkpoint, step: Step) -> int:
    sent = FanOut.objects.filter(run=origin, seq__gt=at.seq)
    return Branch.objects.filter(fan_out__in=sent, done__contains=[{"step": step.name}]).count()


def _changed(change: states.Change | None) -> set[str]:
    return set() if change is None else {name for part in change.delta.values() for name in part}


def _following(workflow: Workflow[Any], first: str) -> list[Step]:
    """The steps from ``first`` on, in reading order, each with the branches that it sends to."""
    order = workflow.reading_order()
    names = [step.name for step in order]
    return order[names.index(first) :] if first in names else order


def in_short(plan: Plan) -> dict[str, Any]:
    """What was changed, for the journal and for lineages: ``{field: {"from", "to"}}`` of short values, secrets masked."""
    if plan.change is None:
        return {}
    kind = plan.workflow.state
    old, new = masking.masked(kind, plan.found.values), masking.masked(kind, plan.change.values)
    return {name: {"from": _short(old.get(name)), "to": _short(new.get(name))} for name in sorted(_changed(plan.change))}


def _short(value: Any) -> Any:
    return value if len(codec.dumps(value)) <= 200 else f"{type(value).__name__} of {len(codec.dumps(value))} bytes"


def key_of(origin: Run, by: Any, key: str, *asked: Any) -> str:
    """The fork's own idempotency key: what the same user asks for with the same key makes one run; something else another."""
    text = codec.dumps([by.pk, key, *asked]).decode()
    return f"{FORK_KEY}{uuid.uuid5(origin.pk, text)}"
