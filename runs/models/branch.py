"""A fan-out, and its branches: parallel parts of a run, each claimed, fenced and durable by itself."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from runs.clock import Now
from runs.models.carried import Carried
from runs.models.run import Run
from runs.moves import BRANCH_FINAL, BranchStatus


class FanOut(models.Model):
    """What a step sent out. The run stands at the join meanwhile, in nobody's hands."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="fan_outs")
    seq = models.BigIntegerField()  # of its entry in the journal; its branches see the state as of there
    sender = models.CharField(max_length=200)
    part = models.CharField(max_length=200)  # the branch step that it sent to; the first of several
    join_visit = models.IntegerField()  # the visit of the step that joins it
    total = models.IntegerField()
    max_parallel = models.IntegerField(null=True)
    on_failure = models.CharField(max_length=10)  # fail, collect
    at = models.DateTimeField(db_default=Now())
    all_told = models.BooleanField(default=False)  # its last branches were told of as it came to its join

    class Meta:
        constraints = [models.UniqueConstraint(name="fan_out_once", fields=["run", "seq"])]

    def __str__(self) -> str:
        return f"{self.sender} × {self.total}"


class BranchQuerySet(models.QuerySet["Branch"]):
    def open(self) -> "BranchQuerySet":
        return self.exclude(status__in=BRANCH_FINAL)


class Branch(Carried):
    """One parallel part. It commits its own row and leaves the run's alone, which ten thousand of them share."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, models.CASCADE, related_name="branches", db_index=False)
    fan_out = models.ForeignKey(FanOut, models.CASCADE, related_name="branches", db_index=False)
    index = models.IntegerField()
    arg = models.JSONField(null=True)
    status = models.CharField(max_length=10, choices=BranchStatus, default=BranchStatus.QUEUED)
    slot = models.IntegerField(null=True)  # which of max_parallel places it takes while it runs
    done = models.JSONField(default=list)  # its finished steps in order, each with its updates (workflows/joining.py)
    told_at = models.BigIntegerField(null=True)  # the seq of the journal entry that tells of its end
    told_steps = models.IntegerField(default=0)  # how many of ``done`` the run's totals hold

    objects: ClassVar[models.Manager["Branch"]] = models.Manager.from_queryset(BranchQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="branch_once", fields=["fan_out", "index"]),
            models.UniqueConstraint(name="branch_in_its_slot", fields=["fan_out", "slot"], condition=Q(slot__isnull=False)),
            models.CheckConstraint(
                name="branch_worker_only_while_running",
                condition=Q(status=BranchStatus.RUNNING, worker__isnull=False)
                | Q(~Q(status=BranchStatus.RUNNING), worker__isnull=True, slot__isnull=True),
            ),
            models.CheckConstraint(
                name="branch_finished_at_when_final",
                condition=Q(status__in=BRANCH_FINAL, finished_at__isnull=False)
                | Q(~Q(status__in=BRANCH_FINAL), finished_at__isnull=True),
            ),
        ]
        indexes = [
            models.Index(name="branch_due", fields=["run", "available_at", "index"], condition=Q(status=BranchStatus.QUEUED)),
            models.Index(name="branch_running", fields=["run", "worker"], condition=Q(status=BranchStatus.RUNNING)),
            models.Index(name="branch_waiting", fields=["run"], condition=Q(status=BranchStatus.WAITING)),
            models.Index(name="branch_failed", fields=["fan_out", "index"], condition=Q(status=BranchStatus.FAILED)),
            models.Index(name="branch_untold", fields=["run"], condition=Q(status__in=BRANCH_FINAL, told_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"branch {self.index}"

    @property
    def requested(self) -> str:
        return self.run.requested

    def error_here(self, kind: str, message: str) -> dict[str, Any]:
        """What a branch that fails where it stands says of it."""
        return {**Run.error_here(self, kind, message), "branch": self.index}  # type: ignore[arg-type] # the same fields
