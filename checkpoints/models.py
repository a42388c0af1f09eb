"""The immutable record of a run's state after a step."""

from typing import Any

from django.db import models

from checkpoints import blob
from runs.clock import Now
from runs.models import Kind, Run, entry_as_json
from runs.words import in_short
from workflows import Gate, codec, masking, registry


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def at_or_before(self, seq: int) -> "CheckpointQuerySet":
        return self.filter(seq__lte=seq).order_by("-seq")


class Checkpoint(models.Model):
    """``delta`` is what the step changed; now and then ``keyframe`` holds the whole state (checkpoints/packing.py).

    Where a workflow's retention has pruned it, ``delta`` is NULL, and the hash of what was there stays.
    """

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints", db_index=False)
    seq = models.BigIntegerField()
    step = models.CharField(max_length=200)
    visit = models.IntegerField()
    attempt = models.IntegerField()
    schema_version = models.SmallIntegerField()
    next_step = models.CharField(max_length=200, default="", blank=True)  # where the run went on; empty in the middle of a step
    reused_from = models.BigIntegerField(null=True)  # the seq of the origin's checkpoint whose result was taken, in a fork
    delta = models.BinaryField(null=True)
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
        detail: dict[str, Any] = {"changed": self.changed(), "bytes": len(self.delta or b"")}
        if self.delta is None:
            detail["pruned"] = True
        if self.reused_from is not None:
            detail["reused_from"] = self.reused_from
        if self._is_gate():  # one that nobody had to answer was passed by a worker, which notes when it began
            detail["gate"] = "passed" if self.started_at is not None else "decided"
        if self.usage:
            detail["usage"] = self.usage
        if self.logs:
            detail["logs"] = len(codec.loads(self.logs))
        return entry_as_json(self, Kind.CHECKPOINT, detail)

    def _is_gate(self) -> bool:
        workflow = registry.known(self.run.workflow, self.run.version)
        return workflow is not None and isinstance(workflow.steps.get(self.step), Gate)

    def changed(self) -> dict[str, Any]:
        """Per changed field ``{"to": value}`` (short ones), ``{"size": bytes}``, ``{"added": items}`` or ``{"edited": True}``.

        Secrets are masked.
        """
        from checkpoints import packing
        from checkpoints.contents import Parts

        if self.delta is None:
            return {}
        try:
            delta = packing.read(blob.unpack(self.delta))
        except (ValueError, TypeError, AttributeError):
            return {"": {"broken": True}}
        secret = masking.secret_fields(registry.schema(self.run.workflow, self.run.version))
        shown: dict[str, Any] = {}
        for name, value in delta["set"].items():
            if isinstance(value, masking.Sealed) or (name in secret and not masking.is_empty(value)):
                shown[name] = {"to": masking.MASK}
            else:
                shown[name] = {"size": value.length} if isinstance(value, Parts) else in_short(value)
        for name, items in delta["append"].items():
            shown[name] = {"size": items.length} if isinstance(items, Parts) else {"added": len(items)}
        return shown | {name: {"edited": True} for name in delta["patch"]}

    def values(self) -> dict[str, Any]:
        """The whole state after this step. Raises store.HistoryBroken."""
        from checkpoints import store

        return store.load(self.run_id, self.seq).values


class Content(models.Model):
    """A piece of a large value, stored once however often the run's history has it (checkpoints/contents.py)."""

    pk = models.CompositePrimaryKey("run_id", "hash")
    # without a constraint: it would be checked for every piece, and the checkpoint that names it has one
    run = models.ForeignKey(Run, models.CASCADE, related_name="contents", db_index=False, db_constraint=False)
    hash = models.BinaryField(max_length=32)
    data = models.BinaryField()

    def __str__(self) -> str:
        return bytes(self.hash).hex()


class DataKey(models.Model):
    """The key of a run's secret values, wrapped by the master key (checkpoints/sealing.py)."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="data_key")
    wrapped = models.TextField()

    def __str__(self) -> str:
        return f"key of {self.run_id}"
