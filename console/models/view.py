"""A saved list of runs."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.access import ROLES, may, roles


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def visible_to(self, user: Any) -> "SavedViewQuerySet":
        """One's own, and those shared with a role that one has."""
        if not may(user, "see"):
            return self.none()
        return self.filter(Q(owner=user.pk) | Q(shared_with__in=roles(user)))

    def for_list(self) -> "SavedViewQuerySet":
        return self.select_related("owner").order_by("name", "pk")


class SavedView(models.Model):
    """A query with its order and columns, under a name. Only ``console.services.views`` writes it."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, default="", blank=True)
    sort = models.CharField(max_length=20, default="", blank=True)
    columns = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    shared_with = models.CharField(max_length=20, default="", blank=True)  # a role; empty: its owner alone

    objects: ClassVar[models.Manager["SavedView"]] = models.Manager.from_queryset(SavedViewQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="saved_view_once", fields=["owner", "name"]),
            models.CheckConstraint(name="saved_view_shared_with_role", condition=Q(shared_with__in=["", *ROLES])),
        ]

    def __str__(self) -> str:
        return self.name
