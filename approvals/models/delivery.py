"""One message to one recipient, and each try to hand it over."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from approvals.models.channel import Channel, Occasion
from approvals.models.gate import Gate
from runs.clock import Now
from runs.models import Run, new_id


class DeliveryState(models.TextChoices):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"  # after the last try of the schedule, or because the receiver wants no more
    OVERTAKEN = "overtaken"  # there was nothing to be done any more


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> "DeliveryQuerySet":
        return self.filter(state=DeliveryState.WAITING)

    def due(self) -> "DeliveryQuerySet":
        """Whose time has come, and that nobody is sending; a channel that rests is left in peace."""
        free = Q(taken_until=None) | Q(taken_until__lte=Now())
        rests = Q(channel__rests_until__gt=Now()) | Q(channel__disabled_at__isnull=False)
        return self.waiting().filter(free, due_at__lte=Now()).exclude(rests)


class Delivery(models.Model):
    """To a person by e-mail (``user``), or to a channel. Its id goes along: whoever gets it twice can tell."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    occasion = models.CharField(max_length=30, choices=Occasion)
    run = models.ForeignKey(Run, models.CASCADE, related_name="deliveries", null=True)  # NULL: a test
    seq = models.BigIntegerField(null=True)  # the journal's entry that it tells of
    gate = models.ForeignKey(Gate, models.CASCADE, null=True, related_name="deliveries")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="deliveries")
    channel = models.ForeignKey(Channel, models.CASCADE, null=True, related_name="deliveries")
    body = models.JSONField()  # what is told, as it was then
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.WAITING)
    digest = models.BooleanField(default=False)  # goes with what else is due for the person then
    due_at = models.DateTimeField(db_default=Now())
    taken_until = models.DateTimeField(null=True)  # somebody is sending it
    tries = models.PositiveSmallIntegerField(default=0)  # of this schedule
    created_at = models.DateTimeField(db_default=Now())
    final_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Delivery"]] = models.Manager.from_queryset(DeliveryQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="delivery_once", fields=["run", "seq", "occasion", "user", "channel"], nulls_distinct=False,
                condition=Q(run__isnull=False),
            ),
            models.CheckConstraint(
                name="delivery_to_one", condition=Q(user__isnull=True, channel__isnull=False)
                | Q(user__isnull=False, channel__isnull=True)
            ),
            models.CheckConstraint(
                name="delivery_final_at_when_over", condition=Q(state="waiting", final_at__isnull=True)
                | (~Q(state="waiting") & Q(final_at__isnull=False))
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(name="delivery_due", fields=["due_at"], condition=Q(state="waiting")),
            models.Index(name="delivery_by_channel", fields=["channel", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.occasion} to {self.user or self.channel}"


class Try(models.Model):
    """One try to hand a delivery over. ``status``: the receiver's HTTP status, where there was an answer."""

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="log")
    at = models.DateTimeField(db_default=Now())
    took_ms = models.PositiveIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True)
    error = models.TextField(default="", blank=True)  # empty: it was taken
    next_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.error or "taken"
