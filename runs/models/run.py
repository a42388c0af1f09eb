"""One execution of a workflow."""

import uuid
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from uuid6 import uuid7

from runs.access import may
from runs.clock import Now
from runs.models.carried import Carried
from runs.models.hold import WorkflowHold
from runs.moves import FINAL, MOVES, UNFINISHED, BranchStatus, Requested, Status


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
        ahead = self.filter(deadline_at__lte=Now(), status__in=(Status.QUEUED, Status.WAITING), rolls_back_from=None)
        return ahead.exclude(learning)

    def stuck(self) -> "RunQuerySet":
        """With a step in flight, of its own or of a branch, that was found to run for much longer than usual."""
        from runs.models.branch import Branch  # which needs Run

        branches = Branch.objects.filter(run=models.OuterRef("pk"), worker__isnull=False)
        own = models.Q(worker__isnull=False, step_started_at__lte=models.F("stuck_at"))
        parts = models.Exists(branches.filter(step_started_at__lte=models.OuterRef("stuck_at")))
        return self.filter(own | parts, stuck_at__isnull=False, finished_at=None)

    def late(self) -> "RunQuerySet":
        """Due, and for half a minute in nobody's hands, though nobody holds them."""
        held = WorkflowHold.objects.open().values("workflow")
        due = self.filter(status=Status.QUEUED, available_at__lt=Now() - timedelta(seconds=30))
        return due.exclude(workflow__in=held)

    def for_list(self) -> "RunQuerySet":
        """What a list shows: never a state, an input or a traceback."""
        held = WorkflowHold.objects.open().filter(workflow=models.OuterRef("workflow"))
        runs = self.defer("input", "saved", "digest").select_related("created_by", "fan_out")
        return runs.annotate(held_with_workflow=models.Exists(held))


class Run(Carried):
    """One execution of a workflow. Only ``runs.services.moves`` and the engine's boundary write ``status``."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    workflow = models.CharField(max_length=200)
    version = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    requested = models.CharField(max_length=10, choices=Requested, default=Requested.NOTHING, blank=True)
    reason = models.TextField(default="", blank=True)
    limit = models.CharField(max_length=20, default="", blank=True)  # the limit that it is held at, until released
    steps_allowed = models.BigIntegerField(null=True)  # raised by a release; NULL: the workflow's max_steps
    cost_allowed = models.DecimalField(max_digits=16, decimal_places=6, null=True)
    breakpoints = ArrayField(models.CharField(max_length=200), default=list)  # steps before which it is held, each once
    deadline_at = models.DateTimeField(null=True)  # no step starts after it
    stuck_at = models.DateTimeField(null=True)  # when a step was last found to run for much longer than usual
    fan_out = models.ForeignKey(  # the fan-out whose branches are under way, or are to be joined
        "FanOut", models.SET_NULL, null=True, related_name="+", db_index=False, db_constraint=False
    )
    rolls_back_from = models.BigIntegerField(null=True)  # the seq at which undoing its effects began
    # the one counter, the chain
    seq = models.BigIntegerField(default=-1)
    digest = models.BinaryField(default=bytes)
    digest_before = models.BinaryField(default=bytes)  # the last boundary writes two entries; this is the first's digest
    input = models.JSONField(null=True)  # NULL: pruned
    labels = models.JSONField(default=dict)
    idempotency_key = models.CharField(max_length=200, null=True)  # noqa: DJ001 - NULL is outside the unique constraint
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="runs")
    saved_tokens = models.BigIntegerField(default=0)
    saved_cost_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    saved_seconds = models.FloatField(default=0)
    forked_from = models.ForeignKey("self", models.PROTECT, null=True, related_name="forks")
    forked_at_seq = models.BigIntegerField(null=True)
    starters = ArrayField(models.IntegerField(), default=list)  # users who started it, or the runs that it was forked from
    reuse = models.JSONField(null=True)  # in a fork: by effect, the origin's checkpoints whose results are still to be taken
    # its history
    broken_at = models.BigIntegerField(null=True)  # the first entry that was found not to be as it was written
    pruned_at = models.DateTimeField(null=True)
    imported_at = models.DateTimeField(null=True)  # a copy of another machine's run, which nobody carries on
    created_at = models.DateTimeField(db_default=Now())

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
                condition=models.Q(worker__isnull=True) | models.Q(status__in=[Status.RUNNING, Status.ROLLING_BACK]),
            ),
            models.UniqueConstraint(name="run_idempotency_key", fields=["workflow", "idempotency_key"]),
        ]
        indexes = [
            # the two questions of every claim and sweep
            models.Index(name="run_due", fields=["available_at"], condition=models.Q(status=Status.QUEUED)),
            models.Index(name="run_running", fields=["worker"], condition=models.Q(status=Status.RUNNING)),
            models.Index(name="run_rolling_back", fields=["available_at"], condition=models.Q(status=Status.ROLLING_BACK)),
            models.Index(
                name="run_deadline",
                fields=["deadline_at"],
                condition=models.Q(deadline_at__isnull=False, finished_at__isnull=True),
            ),
            # the list, newest first, whole or by one filter; updated_at feeds the live list
            models.Index(name="run_newest", fields=["-created_at", "-id"]),
            models.Index(name="run_by_status", fields=["status", "-created_at"]),
            models.Index(name="run_by_workflow", fields=["workflow", "-created_at"]),
            # what ended lately, and what is stuck
            models.Index(name="run_finished", fields=["-finished_at"], condition=models.Q(finished_at__isnull=False)),
            models.Index(name="run_stuck", fields=["stuck_at"], condition=models.Q(stuck_at__isnull=False, finished_at=None)),
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
    def run_id(self) -> uuid.UUID:
        """As a branch has it."""
        return self.id

    @property
    def is_put_off(self) -> bool:
        """Whether it goes on by itself, later: after a failed attempt, a sleep, or a signal."""
        put_off = self.status == Status.QUEUED or (self.status == Status.ROLLING_BACK and self.worker is None)
        return put_off and self.available_at > self.updated_at + timedelta(seconds=1)

    @cached_property
    def undone(self) -> int:
        """How many of its effects are undone."""
        return self.events.filter(kind="compensated").count()

    @property
    def since(self) -> datetime:
        """Since when it has been where it is; its branches' news count for nothing."""
        return self.fan_out.at if self.fan_out is not None and self.is_fanned_out else super().since

    @cached_property
    def parts(self) -> dict[str, int] | None:
        """How its branches stand, by status, and ``of``: how many there are. None outside of a fan-out."""
        if self.fan_out is None:
            return None
        count = dict(self.fan_out.branches.values_list("status").annotate(models.Count("pk")))
        return {"of": self.fan_out.total, **{str(status): count.get(status, 0) for status in BranchStatus}}

    @property
    def is_fanned_out(self) -> bool:
        """Whether its branches are under way: no worker has the run itself."""
        moving = self.worker is None and self.status in (Status.RUNNING, Status.WAITING)
        return self.fan_out_id is not None and moving and self.rolls_back_from is None

    @property
    def rolls_back(self) -> bool:
        """Whether its effects are being undone, whatever holds that up just now."""
        return self.rolls_back_from is not None and not self.is_final

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

    @cached_property
    def asked(self) -> Any:
        """The open gate that is decided first, by people or by its policy; a list sets it for all its runs at once."""
        return self.gates.filter(status="open").order_by(models.F("due_at").asc(nulls_last=True), "opened_at").first()

    @cached_property
    def forked(self) -> Any:
        """What its fork changed, and why, as its journal has it; None of a run that is no fork."""
        event = None if self.forked_from_id is None else self.events.filter(kind="forked").first()
        return None if event is None else event.facts()

    @cached_property
    def newest_forks(self) -> "list[Run]":
        """The last few of its forks."""
        return list(
            Run.objects.filter(forked_from=self.pk).only("id", "workflow", "status", "forked_at_seq").order_by("-id")[:5]
        )

    @property
    def can_cancel(self) -> bool:
        may = not self.is_final and not self.rolls_back and not self.is_copy
        return may and self.requested in (Requested.NOTHING, Requested.HOLD)

    @property
    def can_hold(self) -> bool:
        return self.status in MOVES["hold"][0] and not self.requested

    @property
    def can_release(self) -> bool:
        return (self.status == Status.HELD and not self.is_copy) or self.requested == Requested.HOLD

    @property
    def can_retry(self) -> bool:
        return self.status == Status.FAILED and self.rolls_back_from is None and not self.is_copy

    @property
    def can_roll_back(self) -> bool:
        may = self.status in MOVES["roll_back"][0] and not self.rolls_back and not self.is_copy
        return may and self.requested in ("", Requested.HOLD)

    @property
    def is_copy(self) -> bool:
        """Whether only a fork can go on from it: it came from another machine, or most of its history is pruned."""
        return self.imported_at is not None or self.pruned_at is not None
