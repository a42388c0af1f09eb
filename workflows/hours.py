"""Working hours: a clock that stands still at night, at weekends and on holidays."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST = 3660  # days that are looked ahead; a policy that needs more never ends
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True)
class WorkingHours:
    """When a policy's clock runs: on ``days`` from ``start`` to ``end``, local time in ``zone``, but not on holidays.

    ``holidays`` is a country (ISO 3166) as the package of that name has it, with a subdivision where wanted: ``"DE"``,
    ``"DE-BY"``, ``"US-CA"``; ``closed`` are further dates. ``end="24:00"`` is midnight. Where the clocks are put forward or
    back, a working day is an hour shorter or longer if the hour is in it. Raises ValueError that says what was expected.
    """

    zone: str = "UTC"
    days: Sequence[str] = DAYS[:5]
    start: str = "09:00"
    end: str = "17:00"
    holidays: str = ""
    closed: Sequence[date] = ()

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"zone={self.zone!r}: a time zone such as 'Europe/Berlin' was expected") from None
        if isinstance(self.days, str) or not self.days or not set(self.days) <= set(DAYS):
            raise ValueError(f"days={self.days!r}: a list of {', '.join(DAYS)} was expected")
        if _minutes("start", self.start) >= _minutes("end", self.end):
            raise ValueError(f"start={self.start!r} must be before end={self.end!r}")
        if self.holidays:
            _holidays(self.holidays, 2026)
        if not all(isinstance(day, date) for day in self.closed):
            raise ValueError(f"closed={self.closed!r}: a list of dates was expected")

    def after(self, begin: datetime, seconds: float) -> datetime:
        """The moment at which ``seconds`` of working time have passed since ``begin``, in UTC."""
        rest = timedelta(seconds=seconds)
        for opens, closes in self._spans(begin):
            opens = max(opens, begin)
            if closes > opens and rest <= closes - opens:
                return (opens + rest).astimezone(UTC)
            rest -= max(closes - opens, timedelta(0))
        raise ValueError(f"{seconds:g} s of working time do not pass within {LONGEST} days")

    def as_json(self) -> dict[str, Any]:
        closed = [day.isoformat() for day in self.closed]
        return {"zone": self.zone, "days": list(self.days), "start": self.start, "end": self.end,
                "holidays": self.holidays, "closed": closed}  # fmt: skip

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "WorkingHours":
        closed = tuple(date.fromisoformat(day) for day in given.get("closed", ()))
        return cls(**{**given, "closed": closed})

    def in_words(self) -> str:
        """``mon to fri, 09:00 to 17:00, Europe/Berlin, without the holidays of DE``."""
        numbers = sorted(DAYS.index(day) for day in self.days)
        row = numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2
        days = f"{DAYS[numbers[0]]} to {DAYS[numbers[-1]]}" if row else ", ".join(DAYS[number] for number in numbers)
        words = f"{days}, {self.start} to {self.end}, {self.zone}"
        return f"{words}, without the holidays of {self.holidays}" if self.holidays else words

    def _spans(self, begin: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The working hours of each working day from that of ``begin`` on, as moments."""
        zone = ZoneInfo(self.zone)
        first = begin.astimezone(zone).date()
        starts, ends = _minutes("start", self.start), _minutes("end", self.end)
        for number in range(LONGEST):
            day = first + timedelta(days=number)
            if DAYS[day.weekday()] in self.days and day not in self.closed and not self._is_holiday(day):
                yield _moment(day, starts, zone), _moment(day, ends, zone)

    def _is_holiday(self, day: date) -> bool:
        return bool(self.holidays) and day in _holidays(self.holidays, day.year)


def _moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """In UTC, for two moments of one zone are otherwise compared by the clock on the wall."""
    day += timedelta(days=minutes // 1440)
    return datetime.combine(day, time(minutes % 1440 // 60, minutes % 60), zone).astimezone(UTC)


def _minutes(name: str, clock: str) -> int:
    match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if not 0 <= minutes <= 1440:
        raise ValueError(f"{name}={clock!r}: a time such as '09:00' was expected")
    return minutes


@cache
def _holidays(place: str, year: int) -> frozenset[date]:
    import holidays  # here, for it is large, and few policies need it

    country, _, part = place.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
    except NotImplementedError:
        raise ValueError(f"holidays={place!r}: a country such as 'DE' or 'DE-BY' was expected") from None
