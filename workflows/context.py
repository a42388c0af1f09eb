"""What a step is given beside the state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from workflows import codec

SAVE_LIMIT = 64 * 1024  # bytes
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Decision:
    """The outcome of a gate. ``action`` holds the approved (or edited) arguments, ``by`` a user name or ``policy``."""

    verdict: str
    by: str
    comment: str
    action: Mapping[str, Any] | None
    at: datetime


@dataclass(frozen=True)
class Branch:
    """One finished branch as the join sees it."""

    index: int
    arg: Any
    ok: bool
    error: str | None


class Ctx(ABC):
    """The step's view of its run."""

    run_id: str
    step: str
    attempt: int
    idempotency_key: str
    effect_key: str | None
    decision: Decision | None
    decisions: Mapping[str, Decision]
    signal: Any
    branches: Sequence[Branch]
    saved: Any
    given: tuple[Any, ...] = ()  # what a branch step is called with beside state and ctx: its arg

    @abstractmethod
    def progress(self, fraction: float, message: str = "") -> None:
        """Show how far the step is, 0 to 1. Not recorded; may be called often."""

    @abstractmethod
    def stream(self, text: str) -> None:
        """Show text as it is made. Not recorded; may be called often."""

    @abstractmethod
    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Record a line; it is stored with the step's checkpoint, or with the attempt's failure."""

    @abstractmethod
    def usage(self, *, model: str = "", input_tokens: int = 0, output_tokens: int = 0, cost_usd: float | str = 0) -> None:
        """Add to what the step used. May be called several times."""

    @abstractmethod
    def save(self, value: Any) -> None:
        """Store a JSON value (up to 64 KB) at once; the next attempt and ``verify`` read it as ``saved``."""


def checked_level(level: str) -> str:
    """Raises ValueError for what is no log level."""
    if level not in LEVELS:
        raise ValueError(f"level={level!r}: one of {', '.join(LEVELS)} was expected")
    return level


def checked_saved(value: Any) -> bytes:
    """The JSON that ``ctx.save`` keeps. Raises ValueError for what is none, or over 64 KB."""
    data = codec.dumps(value)
    if len(data) > SAVE_LIMIT:
        raise ValueError("ctx.save takes at most 64 KB of JSON")
    return data


def checked_usage(input_tokens: int, output_tokens: int, cost_usd: float | str) -> tuple[int, int, Decimal]:
    """Tokens in and out, and dollars to six places. Raises ValueError for what cannot be stored."""
    try:
        cost = Decimal(str(cost_usd))
    except InvalidOperation:
        cost = Decimal(-1)
    tokens = int(input_tokens), int(output_tokens)
    if not cost.is_finite() or not 0 <= cost < 10**9 or not all(0 <= count < 10**15 for count in tokens):
        raise ValueError("usage: token counts and cost_usd must be numbers from 0, below 10^15 and 10^9")
    return *tokens, cost.quantize(Decimal("0.000001"))
