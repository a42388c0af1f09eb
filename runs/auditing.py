"""Reading the audit: narrowing it, showing an act, and writing it out."""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from django.db.models import F, Q
from ninja import Schema
from pydantic import Field

from runs.filters import FilterInvalid, plain_text
from runs.models import Act, AuditEntry, AuditQuerySet
from runs.words import VERDICTS

COLUMNS = ("seq", "at", "actor", "act", "channel", "address", "subject", "reason", "run", "gate", "decision", "seen", "changed",
           "digest")  # fmt: skip
FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class AuditQuery(Schema):
    """What an audit may be narrowed by, on its page as in the API."""

    actor: str | None = None
    act: Act | None = None
    channel: str | None = None
    run: uuid.UUID | None = None
    gate: uuid.UUID | None = None
    q: Annotated[str | None, Field(description="in the subject, the reason, and what was seen and changed")] = None
    since: datetime | None = None
    until: datetime | None = None


def narrow(entries: AuditQuerySet, wanted: AuditQuery) -> AuditQuerySet:
    """Only the acts that match everything that is given. Raises FilterInvalid that names the parameter."""
    for name, column in (("actor", "actor"), ("channel", "channel"), ("act", "act"), ("run", "run_id"), ("gate", "gate_id")):
        if (value := getattr(wanted, name)) is not None:
            entries = entries.filter(**{column: plain_text(name, value) if isinstance(value, str) else value})
    for name in ("since", "until"):
        if (at := getattr(wanted, name)) is not None and at.tzinfo is None:
            raise FilterInvalid(f"{name}: a time with its zone was expected, such as 2026-11-21T08:00:00Z")
    if wanted.since:
        entries = entries.filter(at__gte=wanted.since)
    if wanted.until:
        entries = entries.filter(at__lt=wanted.until)
    if wanted.q:
        text = plain_text("q", wanted.q)
        found = Q(subject__icontains=text) | Q(reason__icontains=text) | Q(actor__icontains=text) | Q(address=text)
        entries = entries.filter(found | Q(detail__icontains=text))
    return entries


WORDS = {
    Act.TOOK_BACK: "took back the decision on",
    Act.BYPASSED: "decided past the policy",
    Act.COMMENTED: "commented on",
    Act.UNCLAIMED: "left to others",
    Act.DELEGATED: "passed on",
    Act.UNDELEGATED: "took back from whom it was passed on",
    Act.SIGNALLED: "signalled",
    Act.NOTED: "noted at",
    Act.REVEALED: "looked at the secret",
    Act.KILLED: "killed the worker of",
    Act.WORKFLOW_HELD: "held the workflow",
    Act.WORKFLOW_RELEASED: "released the workflow",
    Act.POLICY_CHANGED: "changed the policy",
    Act.PREFERENCE_CHANGED: "changed how they are reached",
    Act.PASSWORD_CHANGED: "changed their password",
    Act.MAINTAINED: "ran",
    Act.ABSENCE_SET: "set an absence of",
    Act.ABSENCE_ENDED: "ended an absence of",
    Act.CHANNEL_CHANGED: "changed the channel",
    Act.REDELIVERED: "sent again",
    Act.LINK_REVOKED: "revoked the link",
    Act.CHAT_LINKED: "linked the",
    Act.CHAT_UNLINKED: "unlinked the",
    Act.SIGN_IN_REFUSED: "failed to sign in as",
    Act.TOKEN_MADE: "made a token",
    Act.TOKEN_REVOKED: "revoked a token",
    Act.ADMINISTERED: "administered",
}


def in_words(entry: AuditEntry, facts: dict[str, Any]) -> str:
    """What was done, as it stands between who and to what."""
    verdict = (facts.get("changed") or {}).get("verdict")
    if entry.act == Act.DECIDED and isinstance(verdict, str):
        return VERDICTS.get(verdict, verdict)
    if entry.act == Act.CHANNEL_CHANGED:
        return _of_a_channel(facts.get("changed") or {})
    return WORDS.get(Act(entry.act), entry.get_act_display().lower())


def _of_a_channel(changed: dict[str, Any]) -> str:
    if "switched" in changed:
        return f"switched {changed['switched']} the channel"
    done = {"made": "made the channel", "deleted": "deleted the channel", "secret": "replaced the secret of the channel"}
    return next((words for name, words in done.items() if name in changed), "changed the channel")


def page(
    entries: AuditQuerySet, *, after: int | None = None, before: int | None = None, newest_first: bool = True, limit: int = 50
) -> tuple[list[AuditEntry], int | None]:
    """Up to ``limit`` acts by ``seq``, and the ``seq`` to go on from."""
    if after is not None:
        entries = entries.filter(seq__gt=after)
    if before is not None:
        entries = entries.filter(seq__lt=before)
    order = F("seq").desc(nulls_first=True) if newest_first else F("seq").asc(nulls_last=True)
    found = list(entries.order_by(order, "-id" if newest_first else "id")[: limit + 1])
    return found[:limit], found[limit - 1].seq if len(found) > limit else None


def as_json(entry: AuditEntry) -> dict[str, Any]:
    """``{seq, at, actor, act, channel, address, run, gate, decision, subject, reason, seen, changed, digest}``"""
    facts = entry.facts()
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "act": entry.act,
        "channel": entry.channel,
        "address": entry.address,
        "run": str(entry.run_id) if entry.run_id else None,
        "gate": str(entry.gate_id) if entry.gate_id else None,
        "decision": entry.decision_id,
        "subject": entry.subject,
        "reason": entry.reason,
        "seen": facts.get("seen"),
        "changed": facts.get("changed"),
        "digest": bytes(entry.digest).hex() if entry.digest else None,
    }


def written(entries: AuditQuerySet, form: str) -> Iterator[str]:
    """The acts in the order of the chain, as JSON lines or as CSV with a head."""
    rows = (as_json(entry) for entry in entries.order_by("seq").iterator(chunk_size=500))
    if form == "jsonl":
        yield from (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    yield _line(COLUMNS)
    for row in rows:
        yield _line([_cell(row[name]) for name in COLUMNS])


def _line(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Nested values as JSON. A text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
