"""How people share the work at gates: rights passed on, absences with a deputy, and gates put off."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F, Q

from runs.access import may
from runs.clock import Now


class Delegation(models.Model):
    """The right of ``holder`` to decide one gate, passed on. A receiver who passes it on again ends this row."""

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey("approvals.Gate", models.CASCADE, related_name="delegations")
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    giver = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    receiver = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="delegations")
    at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="delegation_one_of_a_right", fields=["gate", "holder"], condition=Q(ended_at=None)),
        ]
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.giver} → {self.receiver}"


class Snooze(models.Model):
    """One person does not want to see the gate until then. It is decided no later for that."""

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey("approvals.Gate", models.CASCADE, related_name="snoozes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="snoozes")
    until = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="snooze_one_each", fields=["gate", "user"])]

    def __str__(self) -> str:
        return f"{self.user} until {self.until}"


class AbsenceQuerySet(models.QuerySet["Absence"]):
    def now(self) -> "AbsenceQuerySet":
        return self.filter(starts__lte=Now(), ends__gt=Now())

    def not_over(self) -> "AbsenceQuerySet":
        return self.filter(ends__gt=Now())

    def shown_to(self, user: Any) -> "AbsenceQuerySet":
        """One's own, and to admins everybody's, that are not over."""
        found = self.not_over().select_related("user", "deputy").order_by("starts", "id")
        return found if may(user, "administer") else found.filter(user=user.pk)


class Absence(models.Model):
    """Out of office: meanwhile ``deputy`` may decide what ``user`` may."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="absences")
    deputy = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    starts = models.DateTimeField()
    ends = models.DateTimeField()
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["Absence"]] = models.Manager.from_queryset(AbsenceQuerySet)()

    class Meta:
        constraints = [
            models.CheckConstraint(name="absence_ends_after_it_starts", condition=Q(ends__gt=F("starts"))),
            models.CheckConstraint(name="absence_of_two_people", condition=~Q(user=F("deputy"))),
        ]
        indexes = [models.Index(name="absence_ends", fields=["ends"])]

    def __str__(self) -> str:
        return f"{self.user}: {self.deputy}"


def stood_in_for(user: Any) -> list[User]:
    """For whom the user is the deputy now. A deputy's deputy is nobody's: a right is not passed on through somebody who is
    barred from using it.
    """
    if not user.is_authenticated:
        return []
    away = Absence.objects.now().filter(deputy=user.pk).values("user")
    return list(User.objects.filter(pk__in=away, is_active=True).order_by("pk"))
