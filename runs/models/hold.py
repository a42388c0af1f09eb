"""An operator's hold on all runs of a workflow."""

from typing import ClassVar

from django.db import models

from runs.clock import Now


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
