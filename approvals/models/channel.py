"""Where messages go that are not one person's: webhooks, a Slack app, and what Apprise speaks to."""

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.clock import Now


class Occasion(models.TextChoices):
    """What people are told of; a webhook's ``type``."""

    OPENED = "gate.opened", "a gate asks"
    REMINDED = "gate.reminded", "it still waits"
    ESCALATED = "gate.escalated", "it is escalated"
    DELEGATED = "gate.delegated", "it is passed on"
    MENTIONED = "gate.mentioned", "somebody is mentioned"
    DECIDED = "gate.decided", "people have decided"
    EXPIRED = "gate.expired", "nobody decided in time"
    WITHDRAWN = "gate.withdrawn", "nobody is asked any more"
    FAILED = "run.failed", "a run failed"
    STUCK = "run.stuck", "a run is stuck"
    ROLLED_BACK = "run.rolled_back", "a run was rolled back"
    TEST = "test", "a test"

    @classmethod
    def real(cls) -> "list[Occasion]":
        """All but the test, which is sent by hand."""
        return [one for one in cls if one != cls.TEST]

    @property
    def asks(self) -> bool:
        """Whether somebody is to act at a gate."""
        return self in (Occasion.OPENED, Occasion.REMINDED, Occasion.ESCALATED, Occasion.DELEGATED)

    @property
    def is_of_a_run(self) -> bool:
        return self.value.startswith("run.")


class ChannelKind(models.TextChoices):
    WEBHOOK = "webhook", "Webhook (Standard Webhooks)"
    SLACK = "slack", "Slack app (with buttons)"
    APPRISE = "apprise", "Teams, Discord, PagerDuty, … (Apprise)"


class ChannelQuerySet(models.QuerySet["Channel"]):
    def enabled(self) -> "ChannelQuerySet":
        return self.filter(disabled_at=None)

    def hearing(self, occasion: Occasion, workflow: str, named: Any = ()) -> "ChannelQuerySet":
        """Enabled ones that want to hear of it: by their own choice, or because the gate's policy names them."""
        wanted = Q(only_named=False) & (Q(workflows=[]) | Q(workflows__contains=[workflow]))
        return self.enabled().filter(wanted | Q(name__in=list(named)), events__contains=[occasion])

    def dead(self) -> "ChannelQuerySet":
        """That have failed for a while, or were switched off because of what their receiver said."""
        failing = Q(disabled_at=None, failures__gte=DEAD_AFTER, failing_since__lte=Now() - DEAD_FOR)
        return self.filter(failing | (Q(disabled_at__isnull=False) & ~Q(disabled_why="")))


DEAD_AFTER, DEAD_FOR = 3, timedelta(minutes=5)  # failed tries in a row, and for how long


class Channel(models.Model):
    """``sealed`` holds what must not be read from a dump: ``{"url", "secrets"}``, encrypted with the master key."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=10, choices=ChannelKind)
    sealed = models.TextField()
    shown = models.CharField(max_length=200)  # the address without what is secret in it
    events = ArrayField(models.CharField(max_length=30, choices=Occasion), default=list)
    workflows = ArrayField(models.CharField(max_length=200), default=list, blank=True)  # empty: all
    only_named = models.BooleanField(default=False)  # hears only of gates whose policy names it
    disabled_at = models.DateTimeField(null=True)
    disabled_why = models.CharField(max_length=300, default="", blank=True)  # empty: a person did
    failures = models.PositiveIntegerField(default=0)  # tries in a row
    failing_since = models.DateTimeField(null=True)
    last_error = models.TextField(default="", blank=True)
    last_ok_at = models.DateTimeField(null=True)
    rests_until = models.DateTimeField(null=True)  # its receiver asked for a pause
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["Channel"]] = models.Manager.from_queryset(ChannelQuerySet)()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None
