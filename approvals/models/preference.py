"""How a person wants to be reached, and by which accounts elsewhere they are known."""

from datetime import time
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from approvals.models.channel import Occasion
from runs.clock import Now


class Pace(models.TextChoices):
    AT_ONCE = "at_once", "at once"
    DIGEST = "digest", "once a day, together"
    OFF = "off", "never"


def usual_events() -> list[str]:
    """What people want to be told of by e-mail, unless they say otherwise."""
    usual = (Occasion.OPENED, Occasion.REMINDED, Occasion.ESCALATED, Occasion.DELEGATED, Occasion.MENTIONED)
    return [str(one) for one in (*usual, Occasion.FAILED, Occasion.STUCK, Occasion.ROLLED_BACK)]


class Preference(models.Model):
    """Who has no row has the defaults. Times are those of ``zone``."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="preference")
    email = models.CharField(max_length=10, choices=Pace, default=Pace.AT_ONCE)
    events = ArrayField(models.CharField(max_length=30, choices=Occasion), default=usual_events, blank=True)
    by_workflow = models.JSONField(default=dict, blank=True)  # {workflow: pace}, where it differs
    all_runs = models.BooleanField(default=False)  # hears of runs that others have started too
    browser = models.BooleanField(default=False)  # a page that is open may show notifications of the browser
    zone = models.CharField(max_length=60, default="UTC")
    digest_at = models.TimeField(default=time(8))
    quiet_from = models.TimeField(null=True)
    quiet_to = models.TimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="preference_quiet_from_and_to",
                condition=models.Q(quiet_from__isnull=True, quiet_to__isnull=True)
                | models.Q(quiet_from__isnull=False, quiet_to__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.email}"

    @classmethod
    def of(cls, user: Any) -> "Preference":
        """Theirs, or the defaults."""
        found = Preference.objects.filter(user=user.pk).first()
        return found or Preference(user=user)

    def as_json(self) -> dict[str, Any]:
        """All of it, times as text."""
        plain = {name: getattr(self, name) for name in ("email", "events", "by_workflow", "all_runs", "browser", "zone")}
        times = {name: getattr(self, name) for name in ("digest_at", "quiet_from", "quiet_to")}
        return {**plain, **{name: at and f"{at:%H:%M}" for name, at in times.items()}}

    def pace(self, workflow: str) -> Pace:
        return Pace(self.by_workflow.get(workflow, self.email))


class ChatAccount(models.Model):
    """A person's account in a chat: what is pressed there is theirs."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="chat_accounts")
    app = models.CharField(max_length=64)  # tells apart apps by their signing secret: nobody else's word counts
    team = models.CharField(max_length=50)
    account = models.CharField(max_length=50)
    name = models.CharField(max_length=150, default="", blank=True)
    at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["ChatAccount"]]

    class Meta:
        constraints = [models.UniqueConstraint(name="chat_account_one_person", fields=["app", "team", "account"])]

    def __str__(self) -> str:
        return self.name or self.account
