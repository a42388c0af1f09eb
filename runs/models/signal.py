"""What came from outside for a run that waits for it, or will."""

from django.db import models

from runs.clock import Now
from runs.models.branch import Branch
from runs.models.run import Run


class Signal(models.Model):
    """A name and a payload. It is read once, by the visit that follows the Wait."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="signals", db_index=False)
    name = models.CharField(max_length=200)
    payload = models.JSONField(null=True)
    at = models.DateTimeField(db_default=Now())
    visit = models.IntegerField(null=True)  # which reads it as ctx.signal; NULL: nobody yet
    branch = models.ForeignKey(Branch, models.CASCADE, null=True, related_name="signals", db_index=False)

    class Meta:
        indexes = [models.Index(name="signal_by_run", fields=["run", "name", "id"])]

    def __str__(self) -> str:
        return self.name
