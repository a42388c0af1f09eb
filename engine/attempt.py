"""One attempt: the author's function under its time limit."""

import asyncio
import inspect
import os
from collections.abc import Callable
from typing import Any

from django.db import connection, connections
from psycopg.pq import TransactionStatus

from engine import timelimit
from engine.boundary import Fenced
from engine.context import RunCtx
from workflows import State, attempts
from workflows.attempts import Failure, Result, failure
from workflows.steps import Step, takes

ASYNC_UNSAFE = "DJANGO_ALLOW_ASYNC_UNSAFE"


def run_step(step: Step, state: State, ctx: RunCtx) -> Result | Failure:
    """Call the step. Never raises, but for Fenced and what ends the process."""
    return attempts.run_step(step, state, ctx, lambda function, args: call(function, args, step.timeout, step))


def call(function: Callable[..., Any], args: tuple[Any, ...], timeout: float, step: Step) -> Any:
    """Call an author's function, sync or async, with as many of ``args`` as it takes; its value or a Failure."""
    before = _open_transactions()
    try:
        with timelimit.limit(timeout):
            value = function(*args[: takes(function, len(args))])
            if inspect.isawaitable(value):
                value = _awaited(value)
    except timelimit.StepTimeout:
        _abandon_query()
        return Failure("StepTimeout", f"the step took longer than its timeout of {timeout:g} s", "", retryable=True)
    except timelimit.ShutdownCut:
        _abandon_query()
        return Failure("Shutdown", "the worker was stopped while the step ran", "", retryable=True, cut=True)
    except Fenced:
        raise
    except (Exception, asyncio.CancelledError, SystemExit) as error:  # the last two are no reason to end the worker
        value = failure(error, step)
    if _open_transactions() != before:  # what follows would only seem to be committed
        connection.close()
        text = "the step left a database transaction open; use transaction.atomic(), which closes it"
        return Failure("TransactionLeftOpen", text, "", retryable=False)
    return value


def _open_transactions() -> tuple[int, bool]:
    raw = connection.connection
    idle = raw is None or raw.info.transaction_status == TransactionStatus.IDLE
    return len(connection.savepoint_ids), idle


def _awaited(value: Any) -> Any:
    """A loop of its own in this thread; ``ctx`` may use the database in it, for nothing else waits on the loop."""
    known = os.environ.get(ASYNC_UNSAFE)
    os.environ[ASYNC_UNSAFE] = "1"
    try:
        return asyncio.run(_await(value))
    finally:
        if known is None:
            del os.environ[ASYNC_UNSAFE]


def _abandon_query() -> None:
    """The alarm may have struck inside a query of Django's connection, which is then of no more use."""
    raw = connection.connection
    if raw is not None and raw.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
        connection.close()


async def _await(value: Any) -> Any:
    try:
        return await value
    finally:
        connections.close_all()  # Django gives async code connections of its own
