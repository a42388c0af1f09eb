"""The engine keeps nothing of its own but its processes' last sign of life."""

from django.db import models


class Heartbeat(models.Model):
    """When a process of which there must be one was last at work; readiness compares it with PostgreSQL's clock."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
