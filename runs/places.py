"""Where a run or a branch stands: what a new visit begins with, and what a branch keeps of a finished one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


class Placed(Protocol):
    """A row, or a worker's claim."""

    @property
    def step(self) -> str: ...
    @property
    def visit(self) -> int: ...
    @property
    def attempt(self) -> int: ...


@dataclass(frozen=True)
class Start:
    """Before the first step."""

    step: str = ""
    visit: int = 0
    attempt: int = 1


def arrival(row: Placed, step: str) -> dict[str, Any]:
    """The fields of a row that comes to ``step``: a new visit, of which nothing has been tried yet."""
    return {
        "step": step,
        "visit": row.visit + 1,
        "attempt": 1,
        "failures": 0,
        "losses": 0,
        "doubt_at": None,
        "doubt_reason": "",
        "saved": None,
        "pause": None,
    }


def finished_step(
    row: Placed, part: dict[str, Any], *, at: datetime | None = None, started_at: datetime | None = None,
    usage: Any = None, logs: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """One item of ``Branch.done``: what a run keeps as a checkpoint. ``part`` is its updates (workflows/joining.py).

    Without ``at`` the statement that stores it adds the time.
    """
    step = getattr(row, "began_as", row.step)  # the name that is in the visit's key
    kept: dict[str, Any] = {"step": step, "visit": row.visit, "attempt": row.attempt, **part}
    if at is not None:
        kept["at"] = at.isoformat()
    if started_at is not None:
        kept["started_at"] = started_at.isoformat()
    return {**kept, **({"usage": usage} if usage else {}), **({"logs": logs} if logs else {})}
