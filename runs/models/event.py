"""The journal's entries that are no checkpoints."""

from typing import Any

from django.db import models

from runs.clock import Now
from runs.models.run import Run
from workflows import codec


class Kind(models.TextChoices):
    """The kinds of journal entries."""

    CHECKPOINT = "checkpoint"
    ATTEMPT_FAILED = "attempt_failed"
    WORKER_LOST = "worker_lost"
    VERIFIED = "verified"
    GATE_OPENED = "gate_opened"
    GATE_REOPENED = "gate_reopened"
    ESCALATED = "escalated"
    REMINDED = "reminded"
    DECIDED = "decided"
    GATE_WITHDRAWN = "gate_withdrawn"
    HELD = "held"
    RELEASED = "released"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    FORKED = "forked"
    SLEPT = "slept"
    SIGNAL = "signal"
    FAN_OUT = "fan_out"
    BRANCH = "branch"
    COMPENSATED = "compensated"
    NOTE = "note"
    ENDED = "ended"


# Who decided what, and how it ended: never pruned.
LASTING = frozenset(
    {Kind.DECIDED, Kind.GATE_OPENED, Kind.GATE_REOPENED, Kind.GATE_WITHDRAWN, Kind.ESCALATED, Kind.FORKED, Kind.ENDED}
)


class Event(models.Model):
    """A fact of a run's life that is no checkpoint. Written by ``runs.services.journal`` alone, never changed."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=20, choices=Kind)
    step = models.CharField(max_length=200, default="", blank=True)
    attempt = models.IntegerField(null=True)
    by = models.CharField(max_length=200, default="", blank=True)  # a user name, "policy", "sweeper", or nobody
    detail = models.TextField(null=True)  # noqa: DJ001 - JSON exactly as it was hashed (jsonb would rewrite it); NULL: pruned
    started_at = models.DateTimeField(null=True)
    at = models.DateTimeField(db_default=Now())
    content_hash = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.CheckConstraint(name="event_kind_known", condition=models.Q(kind__in=list(Kind)))]

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"

    def as_entry(self) -> dict[str, Any]:
        """The event as the journal shows it everywhere."""
        return entry_as_json(self, self.kind, self.facts(), self.by)

    def facts(self) -> Any:
        """``detail`` as JSON; of a pruned event only that it was."""
        return {"pruned": True} if self.detail is None else codec.loads(self.detail)


def entry_as_json(row: Any, kind: str, detail: Any, by: str = "") -> dict[str, Any]:
    """``{seq, kind, step, attempt, at, started_at?, duration_ms?, by?, detail}`` for an event or a checkpoint."""
    entry: dict[str, Any] = {
        "seq": row.seq,
        "kind": str(kind),
        "step": row.step,
        "attempt": row.attempt,
        "at": row.at.isoformat(),
    }
    if row.started_at is not None:
        entry["started_at"] = row.started_at.isoformat()
        entry["duration_ms"] = round((row.at - row.started_at).total_seconds() * 1000, 3)
    if by:
        entry["by"] = by
    return {**entry, "detail": detail}
