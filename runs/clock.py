"""PostgreSQL's clock is the only clock. ``holdfast_now()`` is ``clock_timestamp()`` plus a test's offset."""

from datetime import datetime

from django.db import connection, models


class Now(models.Func):
    """The time at which the expression is evaluated; ``now()`` stands still in a transaction and runs back between two."""

    function = "holdfast_now"
    template = "%(function)s()"
    output_field = models.DateTimeField()


def database_now() -> datetime:
    """The time, by the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT holdfast_now()")
        found: datetime = cursor.fetchone()[0]
        return found


def iso(at: datetime | None) -> str | None:
    """The time as text of ISO 8601; None stays None."""
    return at.isoformat() if at is not None else None


def offset_for_tests(interval: str) -> None:
    """Shift the clock of this connection, for instance ``"3 hours"``; ``""`` puts it right again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('holdfast.clock_offset', %s, false)", [interval])
