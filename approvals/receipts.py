"""A receipt of one decision: what was seen, who said what, and what followed; signed, so that anybody can prove it offline."""

import json
from base64 import b64decode, b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.templatetags.static import static

from approvals.consequences import outside
from approvals.models import Decision, Gate
from checkpoints import inspect, store
from checkpoints.models import Checkpoint
from runs.clock import database_now
from runs.models import AuditEntry, Event, Kind
from workflows.errors import StateUnreadable
from workflows.keys import visit_key

FORMAT, VERSION = "holdfast-receipt", 1


def of(decision: Decision) -> dict[str, Any]:
    """The signed document. ``signature`` is Ed25519 over the JSON of all other members: keys in order, no spaces, UTF-8."""
    gate = decision.gate
    entry = AuditEntry.objects.filter(decision_id=decision.pk).order_by("id").first()
    facts = entry.facts() if entry else {}
    found = {
        "format": FORMAT,
        "version": VERSION,
        "made_at": database_now().isoformat(),
        "by": settings.HOLDFAST_URL,
        "verify_with": settings.HOLDFAST_URL + static("verify_receipt.py"),
        "decision": _decision(decision),
        "seen": facts.get("seen"),
        "changed": facts.get("changed"),
        "audit": None if entry is None else _audit(entry),
        "gate": {
            "id": str(gate.pk),
            "step": gate.step,
            "kind": gate.kind,
            "status": gate.status,
            "outcome": gate.outcome_verdict,
        },
        "run": {"id": str(gate.run_id), "workflow": gate.run.workflow, "version": gate.run.version, "status": gate.run.status},
        "journal": _journal(decision),
        "effects": _effects(decision),
        "public_key": public_key(),
    }
    return {**found, "signature": b64encode(_key().sign(canonical(found))).decode()}


def canonical(document: dict[str, Any]) -> bytes:
    """What is signed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public_key() -> str:
    """Base64 of the 32 bytes; keep it elsewhere, so that a receipt can be told from a forger's."""
    raw = _key().public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return b64encode(raw).decode()


@cache
def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b64decode(settings.HOLDFAST_RECEIPT_KEY))


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.pk,
        "verdict": decision.verdict,
        "by": decision.by_name,
        "for": decision.acts_for or None,
        "channel": decision.channel,
        "at": decision.at.isoformat(),
        "comment": decision.comment,
        "bypass": decision.bypass,
        "voided_at": decision.voided_at.isoformat() if decision.voided_at else None,
        "gate_version": decision.version,
        "proposal_hash": decision.proposal_hash,
    }


def _audit(entry: AuditEntry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat(),
        "content_hash": bytes(entry.content_hash).hex(),
        "digest": bytes(entry.digest).hex() if entry.digest else None,
    }


def _journal(decision: Decision) -> list[dict[str, Any]]:
    """The run's entries that tell of this decision, each with its link in the run's chain."""
    events = Event.objects.filter(run=decision.gate.run_id, kind=Kind.DECIDED, detail__contains=str(decision.gate_id))
    return [
        {**event.as_entry(), "content_hash": bytes(event.content_hash).hex(), "digest": bytes(event.digest).hex()}
        for event in events.filter(by=decision.by_name).order_by("seq")
    ]


def _effects(decision: Decision) -> list[dict[str, Any]]:
    """What the approval let happen outside, as far as it has: each effect's result and its link in the chain."""
    gate = decision.gate
    names = [one.name for one in outside(gate)] if decision.agrees else []
    return [{"step": name, **_followed(gate, name)} for name in names]


def _followed(gate: Gate, name: str) -> dict[str, Any]:
    later = Gate.objects.filter(run=gate.run_id, step=gate.step, seq__gt=gate.seq).order_by("seq").values_list("seq", flat=True)
    until = later.first()  # asked again since: what followed then is another receipt's
    done = Checkpoint.objects.filter(run=gate.run_id, step=name, seq__gt=gate.seq)
    row = (done if until is None else done.filter(seq__lt=until)).order_by("seq").first()
    failed = Event.objects.filter(run=gate.run_id, kind=Kind.ATTEMPT_FAILED, step=name, seq__gt=gate.seq).count()
    if row is None:
        return {"happened": False, "failed_attempts": failed}
    return {
        "happened": True,
        "failed_attempts": failed,
        "seq": row.seq,
        "at": row.at.isoformat(),
        "attempt": row.attempt,
        "idempotency_key": None if row.reused_from is not None else visit_key(gate.run_id, row.step, row.visit),
        "returned": _returned(gate, row),
        "content_hash": bytes(row.content_hash).hex(),
        "digest": bytes(row.digest).hex(),
    }


def _returned(gate: Gate, row: Checkpoint) -> dict[str, Any] | None:
    """What it returned, secrets masked; None where that was pruned, or cannot be read."""
    try:
        return inspect.returned(inspect.delta_of(gate.run, row), inspect.state_at(gate.run, row.seq))
    except (store.HistoryBroken, StateUnreadable, LookupError):
        return None
