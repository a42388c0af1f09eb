"""What an approver sees beside the proposal: facts and their age, the way that led here, precedents, and the gate's history."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from approvals.models import AGREED, Argument, Gate, GateKind, GateStatus, Verdict
from checkpoints import ages
from checkpoints.models import Checkpoint
from runs.models import Event, Kind
from workflows import masking, registry

PRECEDENTS = 50
SHOWN = 5  # of them, one by one
BEFORE = 5  # earlier gates of the run that are looked at
PATH = 40  # checkpoints that the way is read from
KINDS = (Kind.GATE_OPENED, Kind.GATE_REOPENED, Kind.ESCALATED, Kind.REMINDED, Kind.DECIDED, Kind.GATE_WITHDRAWN, Kind.NOTE)


@dataclass(frozen=True)
class Fact:
    """A state's field that the proposal shows. ``before``: what it was at the run's gate before this, where that differs."""

    name: str
    value: Any
    at: datetime | None
    changed: bool = False
    before: Any = None


@dataclass
class Precedents:
    """How this gate of this workflow was decided before. ``rows``: ``(gate, verdict in short, edited arguments)``."""

    count: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[Gate, str, list[Argument]]] = field(default_factory=list)

    def most_common(self) -> list[tuple[str, int]]:
        return self.count.most_common()

    @property
    def total(self) -> int:
        return self.count.total()


def facts(gate: Gate) -> list[Fact]:
    """The context with what has changed since the run's last gate, and how old each fact is. Secrets are masked."""
    shown = masking.masked(registry.schema(gate.run.workflow, gate.run.version), gate.context)
    if gate.kind != GateKind.APPROVAL or not shown:
        return []
    at, before = ages.last_changed(gate.run_id, shown, gate.seq), _before(gate)
    return [
        Fact(name, value, at.get(name), changed=name in before and before[name] != value, before=before.get(name))
        for name, value in shown.items()
    ]


def _before(gate: Gate) -> dict[str, Any]:
    """What the people of the run's gates before this one were shown: without secrets, as it was stored then."""
    earlier = Gate.objects.filter(run=gate.run_id, kind=GateKind.APPROVAL, opened_at__lt=gate.opened_at).order_by("-opened_at")
    found: dict[str, Any] = {}
    for context in reversed(earlier.values_list("context", flat=True)[:BEFORE]):
        found |= masking.masked(registry.schema(gate.run.workflow, gate.run.version), context)
    return found


def path(gate: Gate) -> tuple[list[tuple[str, int]], int]:
    """The last steps that led here, each with how often in a row, and how many were done before those."""
    done = Checkpoint.objects.filter(run=gate.run_id, seq__lt=gate.seq, seq__gt=0).exclude(step="")
    steps = list(done.order_by("-seq").values_list("step", flat=True)[:PATH])[::-1]
    before = done.count() - len(steps) if len(steps) == PATH else 0
    return [(step, len(list(same))) for step, same in groupby(steps)], before


def precedents(gate: Gate, user: Any) -> Precedents:
    """The last decisions on this gate of this workflow, and what became of those runs; by one those that the user may see."""
    same = Gate.objects.filter(key=gate.key, step=gate.step, kind=gate.kind, status=GateStatus.DECIDED, carried_from=None)
    rows = same.filter(run__workflow=gate.run.workflow).exclude(pk=gate.pk).select_related("run").order_by("-final_at")
    latest = list(rows[:PRECEDENTS])
    visible = set(Gate.objects.visible_to(user).filter(pk__in=[row.pk for row in latest]).values_list("pk", flat=True))
    found = Precedents()
    for row in latest:
        edits = [one for one in row.arguments() if one.changed]
        words = _verdict(row, bool(edits))
        found.count[words] += 1
        if len(found.rows) < SHOWN and row.pk in visible:
            found.rows.append((row, words, edits))
    return found


def _verdict(gate: Gate, edited: bool) -> str:
    if gate.outcome_verdict in AGREED:
        return "edited" if edited else "approved unchanged"
    return {Verdict.REJECT: "rejected", Verdict.RESPOND: "answered"}.get(Verdict(gate.outcome_verdict), gate.outcome_verdict)


def history(gate: Gate) -> list[dict[str, Any]]:
    """The journal's entries of this gate, oldest first."""
    events = Event.objects.filter(run=gate.run_id, kind__in=KINDS, detail__contains=str(gate.pk)).order_by("seq")
    entries = [event.as_entry() for event in events]
    return [entry for entry in entries if entry["detail"].get("gate") == str(gate.pk)]  # others may speak of it
