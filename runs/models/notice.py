"""The outbox: journal entries that people are to hear of."""

from django.db import models

from runs.clock import Now
from runs.models.run import Run


class Notice(models.Model):
    """Written by the statement that writes the entry (runs/services/journal.py), so none is lost; gone once handed on."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, models.CASCADE, related_name="notices", db_constraint=False, db_index=False)
    seq = models.BigIntegerField()
    due_at = models.DateTimeField(db_default=Now())  # one that could not be handed on is pushed back
    tries = models.PositiveSmallIntegerField(db_default=0)

    class Meta:
        indexes = [models.Index(name="notice_due", fields=["due_at"])]

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"
