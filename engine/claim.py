"""Taking a run: one UPDATE that names the worker and counts the claim, and the state read in the same transaction."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from django.db import DatabaseError, connection

from checkpoints import store
from checkpoints.packing import Since
from engine.insisting import is_refusal
from runs import hot
from workflows import codec
from workflows.keys import branch_name, visit_key

NOBODY = uuid.UUID(int=0)


@dataclass
class Part:
    """The branch that a worker has of a run. ``done`` are its finished steps (workflows/joining.py)."""

    pk: int
    index: int
    arg: Any
    fan_out_seq: int
    done: list[dict[str, Any]]
    slot: int | None

    @property
    def name(self) -> str:
        """As idempotency keys have it: once in a run, whatever else it fans out."""
        return branch_name(self.fan_out_seq, self.index)


@dataclass
class Claimed:
    """A run, or a branch of it, in a worker's hands, as of its last boundary.

    The worker keeps it up to date by what boundaries return.
    """

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
    pause: Any
    fan_out: int | None  # the fan-out that is to be joined
    rolls_back_from: int | None
    broken_at: int | None = None  # the entry at which its history is known to be broken
    forked_from: uuid.UUID | None = None
    reuse: Any = None  # in a fork: whose recorded results are still to be taken (engine/reusing.py)
    began_as: str = ""  # the step's name when the visit began; a renamed step keeps its visit's idempotency key
    part: Part | None = None  # None: the run itself
    since: Since = field(default_factory=Since)  # what its next checkpoint is packed with
    secrets: tuple[str, ...] = ()  # the secret texts of its state, to be masked wherever a step repeats them

    def __post_init__(self) -> None:
        self.began_as = self.began_as or self.step
        self.saved, self.pause, self.reuse = unpacked(self.saved), unpacked(self.pause), unpacked(self.reuse)

    @property
    def awaits_signal(self) -> bool:
        """Whether it was taken while it waits for a signal: then the time is over."""
        return self.pause is not None and self.pause["kind"] == "signal"

    @property
    def is_decided(self) -> bool:
        """Whether its gates are decided, and that is still to be carried out (engine/decided.py)."""
        return self.pause is not None and self.pause["kind"] == "decided"

    @property
    def key(self) -> str:
        """The idempotency key of the visit."""
        return visit_key(self.id, self.began_as, self.visit, self.part.name if self.part else "")


def unpacked(value: Any) -> Any:
    """Django has its connections read jsonb as text."""
    return codec.loads(value) if isinstance(value, str) else value


# The step that the run comes to may start now; otherwise the worker finds out why not (stretch.py).
MAY_START = """requested = '' AND NOT {step} = ANY(breakpoints)
    AND (deadline_at IS NULL OR deadline_at > holdfast_now()) AND NOT holdfast_held(workflow)"""
# Branches of a run, of which this is asked, may start now.
BRANCHES_MAY = """status = 'running' AND worker IS NULL AND requested = ''
    AND (deadline_at IS NULL OR deadline_at > holdfast_now()) AND NOT holdfast_held(workflow)"""
# In nobody's hands, and somebody may take it: the sweeper and the metrics ask the same.
_ITS_TIME = """available_at <= holdfast_now()
    AND workflow NOT IN (SELECT workflow FROM runs_workflowhold WHERE released_at IS NULL)"""
DUE = f"status = 'queued' AND {_ITS_TIME}"

UNDO_DUE = f"status = 'rolling_back' AND worker IS NULL AND {_ITS_TIME}"

# The row is locked by its id before it is changed, so whoever comes second passes it over.
_CLAIM = f"""
UPDATE runs_run AS run SET
    status = 'running', worker = %(worker)s, claim = claim + 1, boundary = boundary + 1,
    started_at = coalesce(started_at, holdfast_now()), updated_at = holdfast_now(),
    step_started_at = CASE WHEN {MAY_START.format(step="step")} THEN holdfast_now() END
FROM ({{which}} FOR NO KEY UPDATE SKIP LOCKED) AS due WHERE run.id = due.chosen
RETURNING id, workflow, version, step, visit, attempt, failures, losses, boundary, claim, worker, seq, requested,
    step_started_at, doubt_at, doubt_reason, saved, cost_usd, digest, steps_allowed, cost_allowed, breakpoints, deadline_at,
    pause, fan_out_id, rolls_back_from, broken_at, forked_from_id, reuse
"""
_HINTED = _CLAIM.format(which=f"SELECT id AS chosen FROM runs_run WHERE id = %(run)s AND {DUE}")
_OLDEST = _CLAIM.format(which=f"SELECT id AS chosen FROM runs_run WHERE {DUE} ORDER BY available_at LIMIT 1")
# One that rolls back keeps its status.
_TO_UNDO = _CLAIM.replace("status = 'running'", "status = 'rolling_back'").format(
    which=f"SELECT id AS chosen FROM runs_run WHERE {UNDO_DUE} ORDER BY id <> %(run)s, available_at LIMIT 1"
)
_OTHERS_DUE = f"""
SELECT EXISTS (SELECT FROM runs_run WHERE {DUE}) OR EXISTS (SELECT FROM runs_run WHERE {UNDO_DUE}) OR EXISTS (
    SELECT FROM runs_run AS run WHERE status = 'running' AND worker IS NULL AND requested = '' AND id <> %s AND EXISTS (
        SELECT FROM runs_branch WHERE run_id = run.id AND status = 'queued' AND available_at <= holdfast_now()
    )
)
"""


class NotTaken(Exception):
    """The database is away, or refuses; no run was claimed."""


Taken = tuple[Claimed, store.Loaded | store.HistoryBroken]


def take_hinted(run_id: uuid.UUID, worker: int) -> Taken | None:
    """Claim the run and read its state. None: it is not due. Raises NotTaken.

    The state is read by a statement of its own, for one snapshot could hold a claimed row and an older history.
    """
    values = {"run": run_id, "seq": store.LARGEST}
    with nothing_taken():  # both statements are one transaction
        claimed, rows = hot.in_one_trip((_HINTED, {"worker": worker, **values}), (store.READ_PROVEN, values))
    return _loaded(claimed[0], rows) if claimed else None


def take_oldest(worker: int) -> Taken | None:
    """Claim the run that has been due longest, and read its state. None: nothing is due. Raises NotTaken."""
    return _taken(_OLDEST, {"worker": worker})


def take_to_undo(hint: uuid.UUID | None, worker: int) -> Taken | None:
    """Claim a run that rolls back: the hinted one, or else the one that has been due longest. Raises NotTaken."""
    return _taken(_TO_UNDO, {"worker": worker, "run": hint or NOBODY})


def _taken(statement: str, values: dict[str, Any]) -> Taken | None:
    """Read only up to the claim's ``seq``, for others may write to the journal since."""
    with nothing_taken():
        row = hot.one(statement, values)
    return None if row is None else _loaded(row, hot.rows(store.READ_PROVEN, {"run": row[0], "seq": row[11]}))


@contextmanager
def nothing_taken() -> Iterator[None]:
    """An error after which it is certain that nothing was claimed: never sent, or refused."""
    try:
        yield
    except (DatabaseError, psycopg.Error) as error:
        if connection.connection is not None and not is_refusal(error):
            raise
        raise NotTaken(str(error)) from error


def _loaded(row: Any, rows: list[Any]) -> Taken:
    claimed = Claimed(*row)
    try:
        return claimed, store.proven(claimed.id, rows, bytes(claimed.digest))
    except store.HistoryBroken as error:
        return claimed, error


def others_due(here: uuid.UUID = NOBODY) -> bool:
    """Whether something is due beside the branches of the run ``here``."""
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS_DUE, [here])
        return bool(cursor.fetchone()[0])
