"""What a test says beforehand, and what it is told afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from workflows.attempts import Failure
from workflows.context import Decision
from workflows.errors import Ambiguous
from workflows.state import State

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Answer:
    """A scripted decision."""

    verdict: str
    by: str = "tester"
    comment: str = ""
    args: Mapping[str, Any] | None = None


def approve(*, by: str = "tester", comment: str = "", **changed: Any) -> Answer:
    """Approve; with arguments of the action: approve with these changes (``edit``)."""
    return Answer("edit" if changed else "approve", by, comment, changed or None)


def reject(comment: str = "", *, by: str = "tester") -> Answer:
    return Answer("reject", by, comment)


def respond(words: str, *, by: str = "tester") -> Answer:
    return Answer("respond", by, words)


def happened(**updates: Any) -> Answer:
    """At an outcome gate, which is called ``"<step>:outcome"``: it did happen, with this result."""
    return Answer("happened", args=updates)


def not_happened() -> Answer:
    """At an outcome gate: it did not happen, so the effect runs again."""
    return Answer("not_happened")


def retry() -> Answer:
    """At an undo gate, which is called ``"<step>:undo"``: the compensation is tried again."""
    return Answer("retry")


def done_by_hand(comment: str = "") -> Answer:
    """At an undo gate: a person has undone it."""
    return Answer("done_by_hand", comment=comment)


@dataclass(frozen=True)
class Fault:
    """What befalls one attempt: ``error`` is raised instead of the step, or after it (``acts``)."""

    error: Exception
    acts: bool = False


class WorkerLost(Exception):
    """The attempt's worker died."""


def lost_reply() -> Fault:
    """The step does its work, and nobody hears of it."""
    return Fault(Ambiguous("no reply"), acts=True)


def crash(*, after: bool = False) -> Fault:
    """The worker dies before, or after, the step did its work; that is charged to no attempt."""
    return Fault(WorkerLost("the worker died"), acts=after)


@dataclass
class Played(Generic[S]):
    """What became of the run. ``steps`` are the checkpoints' steps in order; ``waiting`` the keys of open gates, and the
    names of signals that did not come; ``undone`` the effects that were rolled back, the last one first."""

    status: str
    state: S
    steps: list[str] = field(default_factory=list)
    attempts: list[tuple[str, int]] = field(default_factory=list)
    verified: list[tuple[str, str]] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    error: Failure | None = None
    logs: list[str] = field(default_factory=list)
    cost_usd: float = 0.0


# Per gate (or an Ask's key) its answers, one for every time it opens; per step what befalls its attempts in turn.
Decide = Mapping[str, Answer | Sequence[Answer]]
Fail = Mapping[str, Sequence[Fault | Exception | None]]
