"""One commit per step boundary, in one statement; and the fence for everything else that a worker writes."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from checkpoints import contents
from checkpoints.packing import Packed
from engine.claim import BRANCHES_MAY, MAY_START, Claimed
from engine.insisting import insist
from runs import hot, poke
from runs.models import Branch, Kind, Run
from runs.moves import MOVES, Status
from runs.services import journal, moves
from workflows import codec

IDLE_LIMIT = "10s"


class Fenced(Exception):
    """The run is no longer this worker's: somebody took it over. Nothing was written."""


@dataclass(frozen=True)
class Used:
    """What a step used, for the checkpoint and the run's totals."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    models: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any] | None:
        if not (self.input_tokens or self.output_tokens or self.cost_usd or self.models):
            return None
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": str(self.cost_usd),
            "models": list(self.models),
        }


# A run names a worker only while it is running (a CHECK on the table), so ``worker`` says ``status`` too; written out,
# ``status`` would let the planner walk the index of all running runs instead of going to the row by its id.
FENCE = "id = %(run)s AND worker = %(worker)s AND claim = %(claim)s AND boundary = %(boundary)s"

# ``requested``, ``seq`` and ``digest`` may be written by others while this statement waits for the row, so they are
# read in SET and RETURNING, which see the row as it then is; a CTE or a subselect would see it as it was.
_ADVANCE = f"""
WITH moved AS (
    UPDATE runs_run SET
        seq = seq + 1, digest = {journal.NEXT_LINK}, boundary = boundary + 1,
        step = %(next_step)s, visit = visit + 1, attempt = 1, failures = 0, losses = 0,
        doubt_at = NULL, doubt_reason = '', saved = NULL, pause = NULL, fan_out_id = NULL,
        step_started_at = CASE WHEN {MAY_START.format(step="%(next_step)s::varchar")} THEN holdfast_now() END,
        updated_at = holdfast_now(),
        input_tokens = input_tokens + %(input_tokens)s, output_tokens = output_tokens + %(output_tokens)s,
        cost_usd = cost_usd + %(cost_usd)s
    WHERE {FENCE}
    RETURNING seq, digest, requested, updated_at, step_started_at, breakpoints
), written AS (
    INSERT INTO checkpoints_checkpoint (run_id, seq, step, visit, attempt, schema_version, next_step, reused_from, delta,
        keyframe, usage, logs, started_at, at, content_hash, digest)
    SELECT %(run)s, seq, %(step)s, %(visit)s, %(attempt)s, %(schema_version)s, %(next_step)s, %(reused_from)s, %(delta)s,
        %(keyframe)s, %(usage)s::jsonb, %(logs)s, %(started_at)s, updated_at, %(content_hash)s, digest
    FROM moved
)
SELECT seq, requested, step_started_at, breakpoints FROM moved
"""

# The last boundary also ends the run, in the same commit: two entries, two links. Where a cancel or hold was requested
# meanwhile only the checkpoint is written, and the worker honours the request.
_FIRST_LINK = journal.NEXT_LINK
_SECOND_LINK = f"sha256({_FIRST_LINK} || int8send(seq + 2) || %(ended_hash)s)"
_FINISH = f"""
WITH moved AS (
    UPDATE runs_run SET
        seq = seq + CASE WHEN requested = '' THEN 2 ELSE 1 END,
        digest_before = {_FIRST_LINK},
        digest = CASE WHEN requested = '' THEN {_SECOND_LINK} ELSE {_FIRST_LINK} END,
        status = CASE WHEN requested = '' THEN '{MOVES["succeed"][1]}' ELSE status END,
        worker = CASE WHEN requested = '' THEN NULL ELSE worker END,
        finished_at = CASE WHEN requested = '' THEN holdfast_now() END,
        boundary = boundary + 1, step = 'end', visit = visit + 1, attempt = 1, failures = 0, losses = 0,
        doubt_at = NULL, doubt_reason = '', saved = NULL, pause = NULL, fan_out_id = NULL, step_started_at = NULL,
        updated_at = holdfast_now(), input_tokens = input_tokens + %(input_tokens)s,
        output_tokens = output_tokens + %(output_tokens)s, cost_usd = cost_usd + %(cost_usd)s
    WHERE {FENCE}
    RETURNING seq, digest, digest_before, requested, updated_at
), written AS (
    INSERT INTO checkpoints_checkpoint (run_id, seq, step, visit, attempt, schema_version, next_step, reused_from, delta,
        keyframe, usage, logs, started_at, at, content_hash, digest)
    SELECT %(run)s, CASE WHEN requested = '' THEN seq - 1 ELSE seq END, %(step)s, %(visit)s, %(attempt)s,
        %(schema_version)s, %(next_step)s, %(reused_from)s, %(delta)s, %(keyframe)s, %(usage)s::jsonb, %(logs)s,
        %(started_at)s, updated_at, %(content_hash)s, digest_before
    FROM moved
), ended AS (
    INSERT INTO runs_event (run_id, seq, kind, step, attempt, by, detail, at, content_hash, digest)
    SELECT %(run)s, seq, %(ended_kind)s, '', NULL, '', %(ended_detail)s, updated_at, %(ended_hash)s, digest
    FROM moved WHERE requested = ''
)
SELECT seq, requested, NULL, NULL FROM moved
"""


def fence(run: Claimed) -> dict[str, Any]:
    return {"run": run.part.pk if run.part else run.id, "worker": run.worker, "claim": run.claim, "boundary": run.boundary}


@functools.cache
def _ended() -> dict[str, Any]:
    stored = journal.Entry(Kind.ENDED, detail={"status": str(Status.SUCCEEDED)}).stored()
    return {"ended_kind": stored["kind"], "ended_detail": stored["detail"], "ended_hash": stored["content_hash"]}


@insist
def commit(run: Claimed, packed: Packed, *, used: Used) -> None:
    """Insert the step's checkpoint and move the run to its ``next_step`` (``end``: it has succeeded). One round trip.

    Updates ``run`` to what the row now is; where ``started_at`` is None, the next step may not start. Raises Fenced.
    """
    next_step = packed.columns["next_step"]
    values: dict[str, Any] = {
        **fence(run),
        **packed.columns,
        "started_at": run.started_at,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cost_usd": used.cost_usd,
    }
    statement = (_FINISH, values | _ended()) if next_step == "end" else (_ADVANCE, values)
    pieces = contents.to_store(run.id, packed.pieces)
    rows = hot.in_one_trip(*pieces, statement)[-1] if pieces else hot.rows(*statement)
    if not rows:
        raise Fenced
    run.seq, run.requested, run.started_at, breakpoints = rows[0]
    run.breakpoints = breakpoints or []
    run.step, run.visit, run.attempt, run.failures, run.losses = next_step, run.visit + 1, 1, 0, 0
    run.boundary, run.began_as = run.boundary + 1, next_step
    run.doubt_at, run.doubt_reason, run.saved, run.pause, run.fan_out = None, "", None, None, None
    run.cost_usd += used.cost_usd
    poke.run_changed(run.id)


@contextmanager
def fenced(run: Claimed) -> Iterator[Any]:
    """A transaction in which the row is locked and still this worker's. Raises Fenced, and then nothing is written.

    The row is the run, or its branch with the locked run on it. No author's code runs in it. A worker that is frozen in it
    loses its lock, or nobody could take the run over.
    """
    since = run.since.copy()
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_LIMIT}'")
            row: Run | Branch = moves.lock(run.id)
            if run.part is not None:
                row = moves.lock_branch(run.part.pk, row)  # type: ignore[arg-type] # a run until here
            if (row.worker, row.claim, row.boundary) != (run.worker, run.claim, run.boundary):
                raise Fenced
            yield row
    except BaseException:
        run.since = since  # what was packed in it is not stored
        raise


def _table(run: Claimed) -> str:
    return "runs_branch" if run.part else "runs_run"


@insist
def save(run: Claimed, value: Any) -> None:
    """``ctx.save``: keep a value for the visit's next attempt, at once. Raises Fenced."""
    statement = f"UPDATE {_table(run)} SET saved = %(saved)s::jsonb WHERE {FENCE} RETURNING id"
    if hot.one(statement, {**fence(run), "saved": codec.dumps(value).decode()}) is None:
        raise Fenced
    run.saved = value


_MAY_STILL = f"SELECT {MAY_START.format(step='%(step)s::varchar')} FROM runs_run WHERE {FENCE}"
_BRANCH_MAY_STILL = f"""
SELECT (SELECT {BRANCHES_MAY} FROM runs_run WHERE id = run_id) FROM runs_branch WHERE {FENCE}
"""


def may_still_start(run: Claimed) -> bool:
    """Whether the step may begin now, after something that took its time. Raises Fenced."""
    if run.part is not None:
        row = hot.one(_BRANCH_MAY_STILL, fence(run))
    else:
        row = hot.one(_MAY_STILL, {**fence(run), "step": run.step})
    if row is None:
        raise Fenced
    return bool(row[0])
