"""The times that the overview looks back over, in equal parts."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Span:
    """``parts`` of ``width`` each, the last of which is now's."""

    key: str
    words: str
    width: timedelta
    parts: int

    def starts(self, now: datetime) -> list[datetime]:
        """When each part begins, oldest first; they lie on whole widths, in UTC."""
        last = datetime.fromtimestamp(now.timestamp() // self.width.total_seconds() * self.width.total_seconds(), UTC)
        return [last - self.width * back for back in reversed(range(self.parts))]

    def label(self, start: datetime) -> str:
        return f"{start:%H:%M}" if self.width < timedelta(hours=6) else f"{start:%d %b}"


SPANS = {
    span.key: span
    for span in (
        Span("24h", "24 hours", timedelta(hours=1), 24),
        Span("7d", "7 days", timedelta(hours=6), 28),
        Span("30d", "30 days", timedelta(days=1), 30),
    )
}
