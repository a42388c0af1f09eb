"""What one attempt at a step means: the pure part, which the engine and ``workflows.testing`` share."""

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows import codec
from workflows.answers import Ask, End, FanOut, Goto, Send, Sleep, Wait
from workflows.context import Ctx
from workflows.errors import Permanent, Transient
from workflows.state import State, StateInvalid
from workflows.steps import Step

POISON = 3  # workers lost in one visit, after which its step is not tried again by itself
Call = Callable[[Callable[..., Any], tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Result:
    """What a step returned: updates, where to go (None: the next in order), and what comes before that."""

    updates: Mapping[str, Any] = field(default_factory=dict)
    goto: str | None = None
    asks: tuple[Ask, ...] = ()
    pause: Sleep | Wait | None = None
    fan_out: FanOut | None = None


@dataclass(frozen=True)
class Failure:
    """What went wrong. ``certain``: an effect certainly did not happen. ``cut``: a shutdown, charged to nothing."""

    type: str
    message: str
    traceback: str
    retryable: bool
    certain: bool = False
    cut: bool = False
    retry_after: float | None = None


def run_step(step: Step, state: State, ctx: Ctx, call: Call) -> Result | Failure:
    """Have the step called with what it may see, and put what it returned into one shape. ``call`` catches what it raises."""
    seen = state if step.needs is None else Narrowed(state, step.needs)
    before = _mutable(state)
    outcome = call(step.function, (seen, ctx, *ctx.given))
    if isinstance(outcome, Failure):
        return outcome
    changed = [name for name, data in before.items() if codec.dumps(_dump(state, name)) != data]
    if changed:
        text = f"the step changed state.{changed[0]} in place; return {{{changed[0]!r}: …}} instead"
        return Failure("StateChangedInPlace", text, "", retryable=False)
    return _normal(outcome, step)


def failure(error: BaseException, step: Step) -> Failure:
    certain = isinstance(error, (Transient, Permanent))
    retryable = not isinstance(error, (Permanent, StateInvalid)) and (certain or isinstance(error, step.retry.on))
    text = "".join(traceback.format_exception(error)[-20:])
    return Failure(
        type(error).__name__,
        codec.clean(str(error)),
        codec.clean(text),
        retryable=retryable,
        certain=certain,
        retry_after=_clamped(error.retry_after) if isinstance(error, Transient) else None,
    )


def _clamped(seconds: float | None) -> float | None:
    """``retry_after`` may come from a remote header: at most a week, and a number."""
    if seconds is None or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return None
    return min(max(0.0, float(seconds)), 7 * 86400.0)


class Narrowed:
    """The state as a step with ``needs`` sees it."""

    def __init__(self, state: State, needs: tuple[str, ...]) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_needs", needs)

    def __getattr__(self, name: str) -> Any:
        if name in type(self._state).model_fields and name not in self._needs:
            raise AttributeError(f"state.{name} is not among this step's needs={list(self._needs)}; add it there")
        return getattr(self._state, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the state cannot be changed in place; return {{{name!r}: …}} instead")


def _normal(value: Any, step: Step) -> Result | Failure:
    if value is None:
        return Result()
    if isinstance(value, Mapping):
        return Result(value)
    if isinstance(value, Goto):
        return Result(value.updates, value.step)
    if isinstance(value, (Sleep, Wait)):
        return Result(value.updates, value.goto, pause=value)
    if isinstance(value, Ask) or _all(value, Ask):
        asks = (value,) if isinstance(value, Ask) else tuple(value)
        updates: dict[str, Any] = {}
        for ask in asks:
            updates |= ask.updates
        return Result(updates, None, asks)
    if not step.is_branch and isinstance(value, End):
        return Result(value.updates, "end")
    if not step.is_branch and (isinstance(value, FanOut) or _all(value, Send) or value == []):
        try:
            fan_out = value if isinstance(value, FanOut) else FanOut.of(value)
        except ValueError as error:
            return Failure("BadReturn", f"step {step.name!r} returned {error}", "", retryable=False)
        return Result(fan_out.updates, fan_out=fan_out)
    expected = "Goto, Ask, Sleep or Wait" if step.is_branch else "Goto, End, Ask, Sleep, Wait, FanOut or a list of Sends"
    text = f"step {step.name!r} returned {type(value).__name__}; a dict of updates, None, {expected} was expected"
    return Failure("BadReturn", text, "", retryable=False)


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, kind) for item in value)


def _mutable(state: State) -> dict[str, bytes]:
    """The fields that could be changed in place, as they are before the step."""
    immutable = (str, int, float, bool, bytes, type(None))
    names = [name for name in type(state).model_fields if not isinstance(getattr(state, name), immutable)]
    return {name: codec.dumps(_dump(state, name)) for name in names}


def _dump(state: State, name: str) -> Any:
    return type(state).field_adapter(name).dump_python(getattr(state, name), mode="json")
