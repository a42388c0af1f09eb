"""What a worker carries: a run, or one branch of it."""

from datetime import datetime

from django.db import models

from runs.clock import Now


class Carried(models.Model):
    """Where it is, who has it, and what its last attempt left behind."""

    step = models.CharField(max_length=200)
    visit = models.IntegerField(default=1)
    attempt = models.IntegerField(default=1)
    failures = models.IntegerField(default=0)  # attempts of this visit charged to Retry.attempts
    losses = models.IntegerField(default=0)  # workers lost in this visit
    step_started_at = models.DateTimeField(null=True)  # set exactly while an attempt is in flight
    doubt_at = models.DateTimeField(null=True)  # when this visit's last attempt could last have acted unnoticed
    doubt_reason = models.TextField(default="", blank=True)
    available_at = models.DateTimeField(db_default=Now())
    saved = models.JSONField(null=True)  # ctx.save of this visit
    pause = models.JSONField(null=True)  # what it sleeps or waits for (engine/pausing.py), or what is still to be carried out
    boundary = models.BigIntegerField(default=0)
    claim = models.BigIntegerField(default=0)
    worker = models.BigIntegerField(null=True)  # key of the advisory lock that its worker holds
    error = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @property
    def since(self) -> datetime:
        """Since when it has been where it is."""
        return self.step_started_at or self.updated_at

    @property
    def signal_name(self) -> str:
        """The signal that it waits for, or nothing."""
        return str(self.pause["name"]) if self.pause and self.pause["kind"] == "signal" else ""

    @property
    def is_decided(self) -> bool:
        """Whether its gates are decided, and that is still to be carried out by whoever claims it."""
        return self.pause is not None and self.pause["kind"] == "decided"
