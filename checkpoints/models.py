"""The immutable record of a run's state after a step."""

from typing import Any

from django.db import models

from checkpoints import blob
from runs.clock import Now
from runs.models import Kind, Run, entry_as_json
from runs.words import in_short
from workflows import Gate, codec, registry
from workflows import state as states


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def at_or_before(self, seq: int) -> "CheckpointQuerySet":
        return self.filter(seq__lte=seq).order_by("-seq")


class Checkpoint(models.Model):
    """``delta`` is what the step changed; now and then ``keyframe`` holds the whole state. Both as checkpoints.blob packs."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints", db_index=False)
    seq = models.BigIntegerField()
    step = models.CharField(max_length=200)
    visit = models.IntegerField()
    attempt = models.IntegerField()
    schema_version = models.SmallIntegerField()
    delta = models.BinaryField()
    keyframe = models.BinaryField(null=True)
    usage = models.JSONField(null=True)
    logs = models.TextField(null=True)  # noqa: DJ001 - NULL costs no byte, and most steps log nothing
    started_at = models.DateTimeField(null=True)
    at = models.DateTimeField(db_default=Now())
    content_hash = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=32)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        indexes = [
            # finds the keyframe at or before any seq in one step
            models.Index(name="checkpoint_keyframe", fields=["run", "seq"], condition=models.Q(keyframe__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.seq} {self.step}"

    def as_entry(self) -> dict[str, Any]:
        """The checkpoint as the journal shows it: what changed, never the state."""
        detail: dict[str, Any] = {"changed": self.changed(), "bytes": len(self.delta)}
        if self._is_gate():  # one that nobody had to answer was passed by a worker, which notes when it began
            detail["gate"] = "passed" if self.started_at is not None else "decided"
        if self.usage:
            detail["usage"] = self.usage
        if self.logs:
            detail["logs"] = len(codec.loads(self.logs))
        return entry_as_json(self, Kind.CHECKPOINT, detail)

    def _is_gate(self) -> bool:
        try:
            return isinstance(registry.version(self.run.workflow, self.run.version).steps.get(self.step), Gate)
        except registry.WorkflowUnknown:
            return False

    def changed(self) -> dict[str, Any]:
        """Per changed field ``{"to": value}`` (short ones), ``{"size": bytes}`` or ``{"added": items}``; secrets masked."""
        try:
            delta = blob.unpack(self.delta)
        except ValueError:
            return {"": {"broken": True}}
        secret = states.secret_fields(registry.schema(self.run.workflow, self.run.version))
        shown: dict[str, Any] = {}
        for name, value in delta.get("set", {}).items():
            shown[name] = {"to": states.MASK} if name in secret else in_short(value)
        for name, items in delta.get("append", {}).items():
            shown[name] = {"added": len(items)}
        return shown

    def values(self) -> dict[str, Any]:
        """The whole state after this step. Raises store.HistoryBroken."""
        from checkpoints import store

        return store.load(self.run_id, self.seq).values
