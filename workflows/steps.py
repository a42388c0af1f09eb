"""A step, an effect, a branch or a gate, as registered; and what is checked of one when it is defined."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workflows.answers import check_verdicts
from workflows.durations import seconds
from workflows.policy import Policy
from workflows.retry import Retry

DEFAULT_TIMEOUT = 300.0
UNKNOWN_CHOICES = ("ask", "retry", "fail")
# a branch that is given one of these acts outside
EFFECT_OPTIONS = frozenset({"verify", "confirm", "check_first", "settle", "on_unknown", "compensate", "approved_by"})


@dataclass(frozen=True, kw_only=True)
class Step:
    """One named unit of work, as registered. ``is_effect``: it changes the world outside; ``is_branch``: Send reaches it."""

    name: str
    function: Callable[..., Any]
    where: str
    retry: Retry = field(default_factory=Retry)
    timeout: float = DEFAULT_TIMEOUT
    then: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None
    was: tuple[str, ...] = ()
    is_effect: bool = False
    is_branch: bool = False
    verify: Callable[..., Any] | None = None
    confirm: bool = False
    check_first: bool = False
    settle: float = 5.0
    on_unknown: str = "ask"
    compensate: Callable[..., Any] | None = None
    approved_by: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called, and was once."""
        return (self.name, *self.was)

    @property
    def kind(self) -> str:
        return "branch" if self.is_branch else "effect" if self.is_effect else "step"

    def targets(self) -> tuple[str, ...]:
        return self.then


@dataclass(frozen=True, kw_only=True)
class Gate(Step):
    """A step at which the run waits for people, when ``when(state)`` says so."""

    when: Callable[..., Any] | None = None
    policy: Policy = field(default_factory=Policy)
    verdicts: tuple[str, ...] = ("approve", "reject")
    on_reject: str = "end"
    on_respond: str | None = None
    revalidate: Callable[..., Any] | None = None

    @property
    def kind(self) -> str:
        return "gate"

    def targets(self) -> tuple[str, ...]:
        return (*self.then, self.on_reject, *((self.on_respond,) if self.on_respond else ()))


def build(kind: type[Step], name: str, function: Callable[..., Any], where: str, options: dict[str, Any]) -> Step:
    """The step of these options. Raises TypeError or ValueError that says what is wrong with them."""
    for key in ("timeout", "settle"):
        if key in options:
            try:
                options[key] = seconds(options[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
    if options.get("timeout") == 0:
        raise ValueError("timeout=0 would end every attempt at once")
    for key in ("then", "needs", "was", "verdicts"):
        if isinstance(options.get(key), str):
            raise ValueError(f"{key}={options[key]!r}: a list was expected")
        if options.get(key) is not None:
            options[key] = tuple(options[key])
    if "verdicts" in options:
        check_verdicts(options["verdicts"])
        if "respond" in options["verdicts"] and not options.get("on_respond"):
            raise ValueError("the verdict 'respond' needs on_respond=…, the step that reads the words")
    for key in ("confirm", "check_first"):
        if options.get(key) and options.get("verify") is None:
            raise ValueError(f"{key}=True needs verify=…, which is what it asks")
    if options.get("on_unknown", "ask") not in UNKNOWN_CHOICES:
        raise ValueError(f"on_unknown={options['on_unknown']!r}: one of {', '.join(UNKNOWN_CHOICES)} was expected")
    most = 3 if options.get("is_branch") else 2
    _takes(function, "step", most)
    for key in ("verify", "compensate", "when", "revalidate"):
        if options.get(key) is not None:
            _takes(options[key], key, most)
    if callable(approvers := getattr(options.get("policy"), "approvers", None)):
        _takes(approvers, "approvers", 2)
    return kind(name=name, function=function, where=where, **options)


def _takes(function: Callable[..., Any], role: str, most: int) -> None:
    """Raises ValueError for a function that cannot be called with (state, ctx), or as a branch with (state, ctx, arg)."""
    if not 1 <= takes(function, most) <= most:
        allowed = "(state), (state, ctx) or (state, ctx, arg)" if most == 3 else "(state) or (state, ctx)"
        raise ValueError(f"{role} {getattr(function, '__name__', function)!r} must take {allowed}")


@functools.cache
def takes(function: Callable[..., Any], most: int = 2) -> int:
    """How many positional arguments ``function`` can be given, at most ``most``; 0 when none or when more are required."""
    positional = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    many = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in inspect.signature(function).parameters.values())
    return 0 if len(required) > most else most if many else min(len(positional), most)
