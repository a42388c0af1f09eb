"""What a step or a ``verify`` may return beside plain updates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pydantic_core

from workflows import codec
from workflows.actions import Proposal
from workflows.durations import Duration, seconds
from workflows.policy import Policy

VERDICTS = ("approve", "edit", "reject", "respond")
BRANCH_LIMIT = 10_000  # branches of one fan-out
ARG_LIMIT = 64 * 1024  # bytes of JSON that one branch is given
NAME_LIMIT = 200  # characters of a signal's name


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


class Sleep:
    """Go on later, at the next step or ``goto`` (the same step again: polling). No worker waits meanwhile."""

    def __init__(
        self, duration: Duration | None = None, *, until: datetime | None = None, goto: str | None = None,
        updates: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if (duration is None) == (until is None):
            raise ValueError('Sleep takes either a duration, such as Sleep("2h"), or until=datetime')
        if until is not None and (not isinstance(until, datetime) or until.tzinfo is None):
            raise ValueError(f"Sleep(until={until!r}): a datetime with a time zone was expected")
        self.seconds = None if duration is None else seconds(duration)
        self.until, self.goto, self.updates = until, goto, dict(updates or {})


class Wait:
    """Wait for the signal ``name`` from outside; the step that follows reads its payload as ``ctx.signal``.

    One that came earlier and was not read yet counts. After ``timeout`` the run goes on at ``on_timeout``, or fails without it.
    """

    def __init__(
        self, name: str, *, timeout: Duration | None = None, on_timeout: str | None = None, goto: str | None = None,
        updates: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        check_name(name)
        if on_timeout is not None and timeout is None:
            raise ValueError(f"Wait({name!r}, on_timeout={on_timeout!r}) needs a timeout")
        self.name, self.on_timeout, self.goto, self.updates = name, on_timeout, goto, dict(updates or {})
        self.timeout = None if timeout is None else seconds(timeout)


class Send:
    """One branch to be run: a branch step and the JSON value that it is given."""

    def __init__(self, step: str, arg: Any = None) -> None:
        if not isinstance(step, str):
            raise ValueError(f"Send({step!r}): the name of a branch step was expected")
        self.step = step
        try:
            self.arg: Any = pydantic_core.to_jsonable_python(arg)
            size = len(codec.dumps(self.arg))
        except ValueError as error:
            raise ValueError(f"Send({step!r}): its arg is no JSON: {error}") from None
        if size > ARG_LIMIT:
            raise ValueError(f"Send({step!r}): its arg is {size} bytes of JSON; at most {ARG_LIMIT} were expected")


class FanOut:
    """Run a branch for each of ``args``, at most ``max_parallel`` at a time; the step after this one joins them.

    ``on_failure="fail"``: a branch that has failed fails the run (a retry tries it alone). ``"collect"``: the join reads
    ``ctx.branches``. A list of ``Send``s is the same with the defaults.
    """

    def __init__(
        self, step: str, args: Iterable[Any], *, updates: Mapping[str, Any] | None = None, max_parallel: int | None = None,
        on_failure: Literal["fail", "collect"] = "fail",
    ) -> None:  # fmt: skip
        if isinstance(args, (str, bytes, Mapping)):
            raise ValueError(f"FanOut({step!r}, …): a list of args was expected, not {type(args).__name__}")
        if max_parallel is not None and (type(max_parallel) is not int or max_parallel < 1):
            raise ValueError(f"FanOut({step!r}, max_parallel={max_parallel!r}): a whole number from 1 was expected")
        if on_failure not in ("fail", "collect"):
            raise ValueError(f"FanOut({step!r}, on_failure={on_failure!r}): 'fail' or 'collect' was expected")
        self.sends: tuple[Send, ...] = ()
        self._take(Send(step, arg) for arg in args)
        self.updates, self.max_parallel, self.on_failure = dict(updates or {}), max_parallel, on_failure

    @classmethod
    def of(cls, sends: Iterable[Send]) -> "FanOut":
        """What a plain list of Sends means."""
        found = cls("", ())
        found._take(sends)
        return found

    def _take(self, sends: Iterable[Send]) -> None:
        self.sends = tuple(sends)
        if len(self.sends) > BRANCH_LIMIT:
            raise ValueError(f"{len(self.sends)} branches; at most {BRANCH_LIMIT} were expected: send them in parts")


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


def check_name(name: object) -> str:
    """Raises ValueError for what is no signal's name."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:
        raise ValueError(f"a signal's name is text of 1 to {NAME_LIMIT} characters, not {str(name)[:100]!r}")
    codec.check_text(name)
    return name
