"""A link to one gate for one person."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from approvals.models.gate import Gate
from runs.clock import Now
from runs.models import new_id


class Link(models.Model):
    """Its address carries the id, signed (``approvals.services.links``). One a gate and person: once revoked, none."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    gate = models.ForeignKey(Gate, models.CASCADE, related_name="links")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="gate_links")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=150, default="", blank=True)

    objects: ClassVar[models.Manager["Link"]]

    class Meta:
        constraints = [
            models.UniqueConstraint(name="link_one_each", fields=["gate", "user"]),
            models.CheckConstraint(name="link_expires_after_it_is_made", condition=Q(expires_at__gt=F("created_at"))),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.gate}"
