"""What a step or a ``verify`` may return beside plain updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.actions import Proposal
from workflows.policy import Policy

VERDICTS = ("approve", "edit", "reject", "respond")


class Goto:
    """Go on at ``step`` (loops are allowed) with these updates."""

    def __init__(self, step: str, /, **updates: Any) -> None:
        self.step, self.updates = step, updates


class End:
    """The run has succeeded, with these last updates."""

    def __init__(self, **updates: Any) -> None:
        self.updates = updates


@dataclass(frozen=True)
class Ask:
    """A gate decided on at run time. The asking step is not run again: the next one (or ``goto``) reads the answer."""

    proposal: Proposal
    key: str = ""
    policy: Policy = field(default_factory=Policy)
    verdicts: Sequence[str] = ("approve", "reject")
    on_reject: str = "end"
    on_respond: str | None = None
    goto: str | None = None
    updates: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.proposal, Proposal):
            raise ValueError(f"Ask({self.proposal!r}): a Proposal was expected")
        check_verdicts(self.verdicts)


@dataclass(frozen=True)
class Happened:
    """``verify``: the effect did happen; these updates are its result."""

    updates: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NotHappened:
    """``verify``: the effect certainly did not happen."""


@dataclass(frozen=True)
class Partly:
    """``verify``: part of it happened; the updates are kept, then the step runs again and sees them."""

    updates: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown:
    """``verify`` cannot tell."""

    reason: str = ""


def check_verdicts(verdicts: Sequence[str]) -> None:
    """Raises ValueError unless ``verdicts`` is a non-empty list of known words without repetition."""
    unknown = [verdict for verdict in verdicts if verdict not in VERDICTS]
    if isinstance(verdicts, str) or unknown or not verdicts or len(set(verdicts)) != len(verdicts):
        raise ValueError(f"verdicts={verdicts!r}: a list of some of {', '.join(VERDICTS)} was expected")
