"""Taking a run: one UPDATE that names the worker and counts the claim, and the state read in the same transaction."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from django.db import DatabaseError, connection

from checkpoints import store
from engine.insisting import is_refusal
from runs import hot
from workflows import codec


@dataclass
class Claimed:
    """A run in a worker's hands, as of its last boundary. The worker keeps it up to date by what boundaries return."""

    id: uuid.UUID
    workflow: str
    version: str
    step: str
    visit: int
    attempt: int
    failures: int
    losses: int
    boundary: int
    claim: int
    worker: int
    seq: int
    requested: str
    started_at: datetime | None  # of the step in flight; None: it may not start now
    doubt_at: datetime | None
    doubt_reason: str
    saved: Any
    cost_usd: Decimal
    digest: bytes
    steps_allowed: int | None
    cost_allowed: Decimal | None
    breakpoints: list[str]
    deadline_at: datetime | None
    began_as: str = ""  # the step's name when the visit began; a renamed step keeps its visit's idempotency key

    def __post_init__(self) -> None:
        self.began_as = self.began_as or self.step


# The step that the run comes to may start now; otherwise the worker finds out why not (stretch.py).
MAY_START = """requested = '' AND NOT {step} = ANY(breakpoints)
    AND (deadline_at IS NULL OR deadline_at > holdfast_now()) AND NOT holdfast_held(workflow)"""
# In nobody's hands, and somebody may take it: the sweeper and the metrics ask the same.
DUE = """status = 'queued' AND available_at <= holdfast_now()
    AND workflow NOT IN (SELECT workflow FROM runs_workflowhold WHERE released_at IS NULL)"""

# The row is locked by its id before it is changed, so whoever comes second passes it over.
_CLAIM = f"""
UPDATE runs_run AS run SET
    status = 'running', worker = %(worker)s, claim = claim + 1, boundary = boundary + 1,
    started_at = coalesce(started_at, holdfast_now()), updated_at = holdfast_now(),
    step_started_at = CASE WHEN {MAY_START.format(step="step")} THEN holdfast_now() END
FROM ({{which}} FOR NO KEY UPDATE SKIP LOCKED) AS due WHERE run.id = due.chosen
RETURNING id, workflow, version, step, visit, attempt, failures, losses, boundary, claim, worker, seq, requested,
    step_started_at, doubt_at, doubt_reason, saved, cost_usd, digest, steps_allowed, cost_allowed, breakpoints, deadline_at
"""
_HINTED = _CLAIM.format(which=f"SELECT id AS chosen FROM runs_run WHERE id = %(run)s AND {DUE}")
_OLDEST = _CLAIM.format(which=f"SELECT id AS chosen FROM runs_run WHERE {DUE} ORDER BY available_at LIMIT 1")
_OTHERS_DUE = f"SELECT EXISTS (SELECT FROM runs_run WHERE {DUE})"


class NotTaken(Exception):
    """The database is away, or refuses; no run was claimed."""


def take(hint: uuid.UUID | None, worker: int) -> tuple[Claimed, store.Loaded | store.HistoryBroken] | None:
    """Claim the hinted run, or else the one that has been due longest, and read its state. None: nothing is due.

    The state is read by a statement of its own, for one snapshot could hold a claimed row and an older history; and only up
    to the claim's ``seq``, for others may write to the journal since. Raises NotTaken.
    """
    if hint is not None:
        values = {"run": hint, "seq": store.LARGEST}
        with _nothing_taken():  # both statements are one transaction
            claimed, rows = hot.in_one_trip((_HINTED, {"worker": worker, **values}), (store.READ_PROVEN, values))
        if claimed:
            return _loaded(claimed[0], rows)
    with _nothing_taken():
        row = hot.one(_OLDEST, {"worker": worker})
    if row is None:
        return None
    return _loaded(row, hot.rows(store.READ_PROVEN, {"run": row[0], "seq": row[11]}))


@contextmanager
def _nothing_taken() -> Iterator[None]:
    """An error after which it is certain that nothing was claimed: never sent, or refused."""
    try:
        yield
    except (DatabaseError, psycopg.Error) as error:
        if connection.connection is not None and not is_refusal(error):
            raise
        raise NotTaken(str(error)) from error


def _loaded(row: Any, rows: list[Any]) -> tuple[Claimed, store.Loaded | store.HistoryBroken]:
    claimed = Claimed(*row)
    if isinstance(claimed.saved, str):  # Django has its connections read jsonb as text
        claimed.saved = codec.loads(claimed.saved)
    try:
        return claimed, store.proven(claimed.id, rows, bytes(claimed.digest))
    except store.HistoryBroken as error:
        return claimed, error


def others_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS_DUE)
        return bool(cursor.fetchone()[0])
