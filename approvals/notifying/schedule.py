"""When something is sent, and when it is tried again."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from approvals.models import Pace, Preference

# Standard Webhooks, "Deliverability and reliability": at once, then after 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
PAUSES = [timedelta(seconds=one) for one in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)]

LONGEST = 86_400.0  # seconds that a receiver may ask us to wait


def next_try(tries: int, now: datetime, asked_for: float | None = None) -> datetime | None:
    """When to try again after so many tries; the receiver may have asked for a longer pause (seconds). None: no more."""
    if tries > len(PAUSES):
        return None
    return now + max(PAUSES[tries - 1], timedelta(seconds=min(asked_for or 0, LONGEST)))


def due(preference: Preference, pace: Pace, now: datetime, deadline: datetime | None) -> tuple[datetime, bool]:
    """When a person is to be told, and whether with others. What would be over by then is told at once."""
    at, together = (next_digest(preference, now), True) if pace == Pace.DIGEST else (after_quiet(preference, now), False)
    return (now, False) if deadline is not None and deadline <= at else (at, together)


def next_digest(preference: Preference, now: datetime) -> datetime:
    return _next(preference, preference.digest_at, now)


def after_quiet(preference: Preference, now: datetime) -> datetime:
    """``now``, or the end of the person's quiet hours where it lies in them."""
    begin, end = preference.quiet_from, preference.quiet_to
    if begin is None or end is None or begin == end:
        return now
    local = now.astimezone(zone_of(preference)).time()
    quiet = begin <= local < end if begin < end else local >= begin or local < end
    return _next(preference, end, now) if quiet else now


def _next(preference: Preference, clock: time, now: datetime) -> datetime:
    """The next time that the person's clock shows ``clock``. A time that summer time leaves out comes an hour later."""
    zone = zone_of(preference)
    today = now.astimezone(zone).date()
    shown = [
        datetime.combine(today + timedelta(days=days), time(clock.hour, clock.minute), tzinfo=zone).replace(fold=fold)
        for days in (0, 1)
        for fold in (0, 1)  # where the clocks go back, it is shown twice
    ]
    return next(at for at in (one.astimezone(UTC) for one in shown) if at > now)


def zone_of(preference: Preference) -> ZoneInfo:
    """The person's zone; UTC where this host does not know it."""
    try:
        return ZoneInfo(preference.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
