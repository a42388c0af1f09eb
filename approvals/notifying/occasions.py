"""What a journal entry is to people: which occasion, at which gate, and the facts that are told of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from approvals.consequences import then
from approvals.models import Gate, Occasion, Risk
from checkpoints.models import Checkpoint
from runs.clock import iso
from runs.models import Event, Kind, Run
from workflows import registry

BY_KIND = {
    Kind.GATE_OPENED: Occasion.OPENED,
    Kind.GATE_REOPENED: Occasion.OPENED,
    Kind.REMINDED: Occasion.REMINDED,
    Kind.ESCALATED: Occasion.ESCALATED,
    Kind.DECIDED: Occasion.DECIDED,
    Kind.GATE_WITHDRAWN: Occasion.WITHDRAWN,
}
BY_ACT = {"delegate": Occasion.DELEGATED, "comment": Occasion.MENTIONED, "stuck": Occasion.STUCK}
BY_END = {"failed": Occasion.FAILED, "rolled_back": Occasion.ROLLED_BACK}
TEXT = 1000  # characters of a comment or an error that are told


@dataclass(frozen=True)
class Told:
    """What is told: the entry with its ``detail``, and its gate, where it is one's."""

    occasion: Occasion
    event: Event
    detail: Mapping[str, Any]
    gate: Gate | None

    @property
    def run(self) -> Run:
        return self.event.run


def of(run_id: uuid.UUID, seq: int) -> Told | None:
    """What the entry is to people; None where nobody is told of it."""
    event = Event.objects.filter(run=run_id, seq=seq).select_related("run__created_by").first()
    if event is None:
        return None
    detail = event.facts()
    occasion = _occasion(event, detail)
    gate = _gate(detail)
    if occasion is None or (gate is None and not occasion.is_of_a_run):
        return None
    if occasion == Occasion.DECIDED and gate is not None and gate.is_open:  # taken back since
        return None
    return Told(occasion, event, detail, gate)


def _occasion(event: Event, detail: dict[str, Any]) -> Occasion | None:
    if event.kind == Kind.NOTE:
        return BY_ACT.get(detail.get("act", ""))
    if event.kind == Kind.ENDED:
        return BY_END.get(detail.get("status", ""))
    if event.kind == Kind.DECIDED and (not detail.get("final") or detail.get("carried_from")):
        return None  # a vote of several; or nobody was asked here
    if event.kind == Kind.DECIDED and event.by == "policy":
        return Occasion.EXPIRED
    return BY_KIND.get(Kind(event.kind))


def _gate(detail: dict[str, Any]) -> Gate | None:
    found = detail.get("gate")
    return Gate.objects.filter(pk=found, carried_from=None).for_list().first() if found else None


def body(told: Told) -> dict[str, Any]:
    """What is told, as plain JSON of a few kilobytes; the proposal's values are read where they may be (``url``)."""
    run, detail = told.run, told.detail
    found: dict[str, Any] = {
        "run": {
            "id": str(run.pk),
            "workflow": run.workflow,
            "status": run.status,
            "step": told.event.step or run.step,
            "started_by": run.created_by.get_username() if run.created_by else None,
            "url": address("run-detail", run.pk),
        },
        "seq": told.event.seq,
        "at": told.event.at.isoformat(),
        "by": told.event.by or None,
    }
    if told.gate is not None:
        found["gate"] = _gate_body(told.gate)
    for name in ("verdict", "reason", "to", "text", "mentions", "channel", "comment", "overdue"):
        if detail.get(name) not in (None, ""):
            found[name] = _short(detail[name])
    if detail.get("changed"):  # asked again
        found["asked_again"] = sorted(detail["changed"])[:50]
    if told.occasion == Occasion.FAILED:
        error = detail.get("error") or run.error or {}
        found["done"] = _done(run)
        found["error"] = {name: _short(str(error.get(name, ""))) for name in ("type", "message", "step")}
    return found


def _done(run: Run) -> list[str]:
    """The effects that have happened, and were not undone by anybody."""
    workflow = registry.known(run.workflow, run.version)
    if workflow is None:
        return []
    names = Checkpoint.objects.filter(run=run, reused_from=None).exclude(step="").order_by("seq").values_list("step", flat=True)
    undone = {event.facts().get("effect") for event in Event.objects.filter(run=run, kind=Kind.COMPENSATED)}
    return [name for name in dict.fromkeys(names) if workflow.is_effect(name) and name not in undone][:20]


def _gate_body(gate: Gate) -> dict[str, Any]:
    return {
        "id": str(gate.pk),
        "kind": gate.kind,
        "status": gate.status,
        "step": gate.step,
        "title": gate.title,
        "action": (gate.action or {}).get("name"),
        "risk": Risk(gate.risk).name.lower(),
        "asks": gate.approvers_in_words(),
        "due_at": iso(gate.due_at),
        "then": then(gate),
        "version": gate.version,
        "proposal_hash": gate.proposal_hash,
        "url": address("gate-detail", gate.pk),
    }


def address(name: str, *args: Any) -> str:
    """The whole address of a page, as people outside reach it."""
    return f"{settings.HOLDFAST_URL}{reverse(name, args=args)}"


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= TEXT else value[:TEXT] + "…"
