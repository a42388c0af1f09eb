"""One attempt: the author's function under its time limit, and what it returned in one shape."""

import asyncio
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from psycopg.pq import TransactionStatus

from engine import timelimit
from engine.boundary import Fenced
from engine.context import RunCtx
from runs.services import journal
from workflows import Ask, End, Goto, Permanent, State, Transient, codec
from workflows.definition import Step, takes
from workflows.state import StateInvalid


@dataclass(frozen=True)
class Result:
    """What a step returned: updates, where to go (None: the next in order), and gates to open."""

    updates: Mapping[str, Any] = field(default_factory=dict)
    goto: str | None = None
    asks: tuple[Ask, ...] = ()


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


def run_step(step: Step, state: State, ctx: RunCtx) -> Result | Failure:
    """Call the step. Never raises, but for Fenced and what ends the process."""
    seen = state if step.needs is None else Narrowed(state, step.needs)
    before = _mutable(state)
    outcome = call(step.function, (seen, ctx), step.timeout, step)
    if isinstance(outcome, Failure):
        return outcome
    changed = [name for name, data in before.items() if codec.dumps(_dump(state, name)) != data]
    if changed:
        text = f"the step changed state.{changed[0]} in place; return {{{changed[0]!r}: …}} instead"
        return Failure("StateChangedInPlace", text, "", retryable=False)
    return _normal(outcome, step)


def call(function: Callable[..., Any], args: tuple[Any, ...], timeout: float, step: Step) -> Any:
    """Call an author's function, sync or async, with as many of ``args`` as it takes; its value or a Failure."""
    try:
        with timelimit.limit(timeout):
            value = function(*args[: takes(function)])
            if inspect.isawaitable(value):
                value = asyncio.run(_await(value))
            return value
    except timelimit.StepTimeout:
        _abandon_query()
        return Failure("StepTimeout", f"the step took longer than its timeout of {timeout:g} s", "", retryable=True)
    except timelimit.ShutdownCut:
        _abandon_query()
        return Failure("Shutdown", "the worker was stopped while the step ran", "", retryable=True, cut=True)
    except Fenced:
        raise
    except Exception as error:
        return failure(error, step)


def _abandon_query() -> None:
    """The alarm may have struck inside a query of Django's connection, which is then of no more use."""
    raw = connection.connection
    if raw is not None and raw.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
        connection.close()


def failure(error: Exception, step: Step) -> Failure:
    certain = isinstance(error, (Transient, Permanent))
    retryable = not isinstance(error, (Permanent, StateInvalid)) and (certain or isinstance(error, step.retry.on))
    text = "".join(traceback.format_exception(error)[-20:])
    return Failure(
        type(error).__name__,
        journal.clean(str(error)),
        journal.clean(text),
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
    if isinstance(value, End):
        return Result(value.updates, "end")
    asks = (value,) if isinstance(value, Ask) else tuple(value) if isinstance(value, list) else ()
    if asks and all(isinstance(ask, Ask) for ask in asks):
        updates: dict[str, Any] = {}
        for ask in asks:
            updates |= ask.updates
        return Result(updates, None, asks)
    text = f"step {step.name!r} returned {type(value).__name__}; a dict of updates, None, Goto, End or Ask was expected"
    return Failure("BadReturn", text, "", retryable=False)


async def _await(value: Any) -> Any:
    return await value


def _mutable(state: State) -> dict[str, bytes]:
    """The fields that could be changed in place, as they are before the step."""
    immutable = (str, int, float, bool, bytes, type(None))
    names = [name for name in type(state).model_fields if not isinstance(getattr(state, name), immutable)]
    return {name: codec.dumps(_dump(state, name)) for name in names}


def _dump(state: State, name: str) -> Any:
    return type(state).field_adapter(name).dump_python(getattr(state, name), mode="json")
