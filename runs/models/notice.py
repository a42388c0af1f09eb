"""The outbox: journal entries that people are to hear of."""

from django.db import models

from runs.clock import Now
from runs.models.run import Run


class Notice(models.Model):
    """Written by the statement that writes the entry (``runs.services.journal``), so none is lost; gone once it is handed on."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, models.CASCADE, related_name="notices", db_constraint=False, db_index=False)
    seq = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"
