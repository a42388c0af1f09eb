"""What to do when the server refuses a commit: it says that nothing was written, so the same may be sent again.

A disk that is full, a server that is read-only for a while or has no connection or memory left, a deadlock: the answer came,
the transaction is undone. That is not a cut connection, after which nobody knows (then the worker ends).
"""

import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import psycopg
from django.db import DatabaseError, connection

from engine import timelimit

PATIENCE = 60.0  # seconds; then the worker gives the run up, and whoever takes it over finds it as of its last boundary
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds
# SQLSTATE classes and codes (PostgreSQL, appendix A): insufficient resources, transaction rolled back, object in use,
# cancelled, read-only, input/output error.
PASSING = ("53", "40", "55", "57014", "25006", "58030")
OUTCOME_UNKNOWN = "40003"
log = logging.getLogger("holdfast.run")

P = ParamSpec("P")
R = TypeVar("R")


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered that nothing was written, for a reason that may pass."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    if state is None or state == OUTCOME_UNKNOWN or not state.startswith(PASSING):
        return False
    return connection.connection is not None and not connection.connection.closed


def insist(act: Callable[P, R]) -> Callable[P, R]:
    """Do ``act``, which is one transaction and changes nothing else before it has committed, until it is not refused."""

    @functools.wraps(act)
    def insisting(*args: P.args, **options: P.kwargs) -> R:
        end, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return act(*args, **options)
            except (DatabaseError, psycopg.Error) as error:
                if not is_refusal(error) or time.monotonic() > end or timelimit.is_stopping():
                    raise
                timelimit.rest()  # no step runs; the one that did must not have this process ended
                log.warning("the database refused (%s); nothing was written, trying again in %.1f s", _first_line(error), pause)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    return insisting


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
