"""What admins have set in place of a workflow's own policies."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from runs.clock import Now


class PolicyChangeQuerySet(models.QuerySet["PolicyChange"]):
    def current(self, workflow: str, name: str) -> "PolicyChange | None":
        """The last one; it holds for gates that open from now on."""
        return self.filter(workflow=workflow, name=name).order_by("-id").first()


class PolicyChange(models.Model):
    """One row per change, never changed itself: the last of a workflow's policy of that name holds.

    ``policy`` is ``Policy.as_json()``, whose approvers may be None: those of the workflow. NULL: the workflow's own again.
    """

    id = models.BigAutoField(primary_key=True)
    workflow = models.CharField(max_length=200)
    name = models.CharField(max_length=200)
    policy = models.JSONField(null=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    reason = models.TextField()
    at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["PolicyChange"]] = models.Manager.from_queryset(PolicyChangeQuerySet)()

    class Meta:
        indexes = [models.Index(name="policy_change_newest", fields=["workflow", "name", "-id"])]

    def __str__(self) -> str:
        return f"{self.workflow} {self.name}"
