"""The rows of a run's timeline, each a visit of a step, and their bars.

Times are milliseconds since the run was created. A bar without an end lasts until now. A row that is closed never changes.
"""

from dataclasses import dataclass, field
from typing import Any

from runs.models import Kind

KEPT = 30  # entries that a row shows, beside its first
PEOPLE = frozenset({Kind.GATE_OPENED, Kind.GATE_REOPENED, Kind.DECIDED, Kind.ESCALATED, Kind.REMINDED, Kind.GATE_WITHDRAWN})
WORK = ("work", "failed", "doubt", "lost")


def _is_telling(checkpoint: dict[str, Any]) -> bool:
    """Whether it says more than what it changed."""
    return checkpoint.get("reused_from") is not None or checkpoint.get("gate") == "passed"


@dataclass
class Bar:
    """``kind``: queue, work, failed, lost, people, sleep, branches, held or undo."""

    kind: str
    start: float
    end: float | None
    words: str = ""


@dataclass
class Row:
    """``state``: open, done, failed, or ``point`` for what only happened. ``seq`` is that of its first entry."""

    seq: int
    step: str
    kind: str
    state: str = "open"
    bars: list[Bar] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    cost: float = 0.0
    closed: int = -1  # the seq of the entry that closed it
    left_out: int = 0  # entries that are not shown

    def add(self, entry: dict[str, Any]) -> None:
        """Of very many the first and the last are kept."""
        self.entries.append(entry)
        if len(self.entries) > KEPT + 1:
            del self.entries[1]
            self.left_out += 1

    @property
    def told(self) -> list[dict[str, Any]]:
        """The entries that say more than that the step is done, the last few."""
        said = [one for one in self.entries if one["kind"] != Kind.CHECKPOINT or _is_telling(one["detail"])]
        counts = [one for one in said if one["kind"] == Kind.BRANCH]
        return [one for one in said if one not in counts[:-1]][-3:]

    @property
    def is_passed(self) -> bool:
        """Whether it is a gate at which nobody had to be asked."""
        return any(one["detail"].get("gate") == "passed" for one in self.entries)

    @property
    def waits_for_people(self) -> bool:
        return self.state == "open" and bool(self.bars) and self.bars[-1].kind == "people"

    @property
    def due(self) -> str | None:
        """When the policy decides, of a gate that is open."""
        found = [one["detail"].get("due_at") for one in self.entries if one["kind"] in PEOPLE]
        return next((at for at in reversed(found) if at), None) if self.state == "open" and self.kind == "gate" else None

    @property
    def checkpoint(self) -> int | None:
        """The seq of the state that it left."""
        found = [one["seq"] for one in self.entries if one["kind"] == Kind.CHECKPOINT]
        return found[-1] if found else None

    @property
    def end(self) -> float | None:
        return self.bars[-1].end if self.bars else None

    @property
    def worked(self) -> float | None:
        """ms of work, of all attempts; None where it is still at work, or never was."""
        done = [bar.end - bar.start for bar in self.bars if bar.kind in (*WORK, "undo") and bar.end is not None]
        return sum(done) if done else None

    @property
    def attempts(self) -> int:
        return sum(bar.kind in WORK for bar in self.bars)
