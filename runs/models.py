"""A run and the events of its life. Checkpoints, which share the run's one counter, are the next app's."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from uuid6 import uuid7

from runs.access import may
from runs.clock import Now
from runs.moves import FINAL, UNFINISHED, Requested, Status
from workflows import codec


def new_id() -> uuid.UUID:
    return uuid.UUID(int=uuid7().int)


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, user: Any) -> "RunQuerySet":
        return self.all() if may(user, "see") else self.none()

    def unfinished(self) -> "RunQuerySet":
        return self.filter(status__in=UNFINISHED)

    def overdue(self) -> "RunQuerySet":
        """Past their deadline and in nobody's hands. A held run waits for its operator; its deadline counts on release."""
        learning = models.Q(status=Status.QUEUED, doubt_at__isnull=False)  # a worker ends it, once it knows of its effect
        return self.filter(deadline_at__lte=Now(), status__in=(Status.QUEUED, Status.WAITING)).exclude(learning)

    def for_list(self) -> "RunQuerySet":
        """What a list shows: never a state, an input or a traceback."""
        held = WorkflowHold.objects.open().filter(workflow=models.OuterRef("workflow"))
        runs = self.defer("input", "saved", "digest").select_related("created_by")
        return runs.annotate(held_with_workflow=models.Exists(held))


class Run(models.Model):
    """One execution of a workflow. Only ``runs.services.moves`` and the engine's boundary write ``status``."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    workflow = models.CharField(max_length=200)
    version = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    requested = models.CharField(max_length=10, choices=Requested, default=Requested.NOTHING, blank=True)
    reason = models.TextField(default="", blank=True)
    # where it is: the step, which arrival at a step this is, and which try
    step = models.CharField(max_length=200)
    visit = models.IntegerField(default=1)
    attempt = models.IntegerField(default=1)
    failures = models.IntegerField(default=0)  # attempts of this visit charged to Retry.attempts
    losses = models.IntegerField(default=0)  # workers lost in this visit
    step_started_at = models.DateTimeField(null=True)  # set exactly while an attempt is in flight
    doubt_at = models.DateTimeField(null=True)  # when this visit's last attempt could last have acted unnoticed
    doubt_reason = models.TextField(default="", blank=True)
    available_at = models.DateTimeField(db_default=Now())
    limit = models.CharField(max_length=20, default="", blank=True)  # the limit that it is held at, until released
    steps_allowed = models.BigIntegerField(null=True)  # raised by a release; NULL: the workflow's max_steps
    cost_allowed = models.DecimalField(max_digits=16, decimal_places=6, null=True)
    saved = models.JSONField(null=True)  # ctx.save of this visit
    breakpoints = ArrayField(models.CharField(max_length=200), default=list)  # steps before which it is held, each once
    deadline_at = models.DateTimeField(null=True)  # no step starts after it
    # the one counter, the chain, the fence
    seq = models.BigIntegerField(default=-1)
    digest = models.BinaryField(default=bytes)
    digest_before = models.BinaryField(default=bytes)  # the last boundary writes two entries; this is the first's digest
    boundary = models.BigIntegerField(default=0)
    claim = models.BigIntegerField(default=0)
    worker = models.BigIntegerField(null=True)  # key of the advisory lock that its worker holds
    input = models.JSONField()
    labels = models.JSONField(default=dict)
    idempotency_key = models.CharField(max_length=200, null=True)  # noqa: DJ001 - NULL is outside the unique constraint
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="runs")
    error = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    saved_tokens = models.BigIntegerField(default=0)
    saved_cost_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    saved_seconds = models.FloatField(default=0)
    forked_from = models.ForeignKey("self", models.PROTECT, null=True, related_name="forks")
    forked_at_seq = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Run"]] = models.Manager.from_queryset(RunQuerySet)()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="run_finished_at_when_final",
                condition=models.Q(status__in=FINAL, finished_at__isnull=False)
                | models.Q(status__in=UNFINISHED, finished_at__isnull=True),
            ),
            models.CheckConstraint(name="run_status_known", condition=models.Q(status__in=list(Status))),
            models.CheckConstraint(
                name="run_worker_only_while_running",
                condition=models.Q(worker__isnull=True) | models.Q(status=Status.RUNNING),
            ),
            models.UniqueConstraint(name="run_idempotency_key", fields=["workflow", "idempotency_key"]),
        ]
        indexes = [
            # the two questions of every claim and sweep
            models.Index(name="run_due", fields=["available_at"], condition=models.Q(status=Status.QUEUED)),
            models.Index(name="run_running", fields=["worker"], condition=models.Q(status=Status.RUNNING)),
            models.Index(
                name="run_deadline",
                fields=["deadline_at"],
                condition=models.Q(deadline_at__isnull=False, finished_at__isnull=True),
            ),
            # the list, newest first, whole or by one filter; updated_at feeds the live list
            models.Index(name="run_newest", fields=["-created_at", "-id"]),
            models.Index(name="run_by_status", fields=["status", "-created_at"]),
            models.Index(name="run_by_workflow", fields=["workflow", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.workflow} …{self.short_id}"

    @property
    def short_id(self) -> str:
        return str(self.id)[-4:]

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def was_resumed(self) -> bool:
        """Whether it went on after a crash or a failure, so that finished steps did not have to be done again."""
        return bool(self.saved_seconds or self.saved_tokens)

    @property
    def took_ms(self) -> float | None:
        """From creation to the end, in milliseconds; None while it is unfinished."""
        return (self.finished_at - self.created_at).total_seconds() * 1000 if self.finished_at else None

    def error_here(self, kind: str, message: str) -> dict[str, Any]:
        """What a run that fails where it stands says of it; every such run can be retried."""
        return {"type": kind, "message": message, "step": self.step, "attempt": self.attempt, "retryable": True}

    @property
    def since(self) -> datetime:
        """Since when it has been where it is."""
        return self.step_started_at or self.updated_at

    @property
    def is_waiting_to_retry(self) -> bool:
        return self.status == Status.QUEUED and self.available_at > self.updated_at + timedelta(seconds=1)

    @property
    def is_held_with_workflow(self) -> bool:
        """Whether an operator holds the whole workflow, so that no step of this run starts."""
        if hasattr(self, "held_with_workflow"):  # a list has asked for all its runs at once
            return bool(self.held_with_workflow) and not self.is_final
        return self.workflow_hold is not None

    @property
    def workflow_hold(self) -> "WorkflowHold | None":
        """The hold of its whole workflow; None where there is none, or the run is over."""
        return None if self.is_final else WorkflowHold.objects.open().filter(workflow=self.workflow).first()

    @property
    def can_cancel(self) -> bool:
        return not self.is_final and self.requested != Requested.CANCEL

    @property
    def can_hold(self) -> bool:
        return self.status in (Status.RUNNING, Status.QUEUED, Status.WAITING) and not self.requested

    @property
    def can_release(self) -> bool:
        return self.status == Status.HELD or self.requested == Requested.HOLD

    @property
    def can_retry(self) -> bool:
        return self.status == Status.FAILED


class WorkflowHoldQuerySet(models.QuerySet["WorkflowHold"]):
    def open(self) -> "WorkflowHoldQuerySet":
        return self.filter(released_at=None)


class WorkflowHold(models.Model):
    """From ``at`` to ``released_at`` no step of any of the workflow's runs starts. The runs keep their own status."""

    workflow = models.CharField(max_length=200)
    reason = models.TextField(default="", blank=True)
    by = models.CharField(max_length=150)
    at = models.DateTimeField(db_default=Now())
    released_by = models.CharField(max_length=150, default="", blank=True)
    released_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["WorkflowHold"]] = models.Manager.from_queryset(WorkflowHoldQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="workflow_held_once", fields=["workflow"], condition=models.Q(released_at=None))
        ]

    def __str__(self) -> str:
        return f"{self.workflow} is held by {self.by}"


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


class Event(models.Model):
    """A fact of a run's life that is no checkpoint. Written by ``runs.services.journal`` alone, never changed."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=20, choices=Kind)
    step = models.CharField(max_length=200, default="", blank=True)
    attempt = models.IntegerField(null=True)
    by = models.CharField(max_length=200, default="", blank=True)  # a user name, "policy", "sweeper", or nobody
    detail = models.TextField()  # JSON exactly as it was hashed; jsonb would rewrite it
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
        return entry_as_json(self, self.kind, codec.loads(self.detail), self.by)


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
