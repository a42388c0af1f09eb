"""Taking a run back from a worker that has died."""

import uuid
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from approvals.services import ending
from checkpoints import totals
from engine import metrics
from engine.lease import HELD_KEYS
from engine.requests import stop_as_requested
from engine.services import settling
from runs import bell
from runs.clock import Now
from runs.models import Branch, Kind, Run
from runs.moves import BranchStatus
from runs.services import journal, moves
from workflows import registry
from workflows.attempts import POISON
from workflows.errors import StepGone

Lost = tuple[uuid.UUID, int, int, int | None]  # the run, the worker, the claim, and which branch, if not the run itself

_LOST = f"""
SELECT id, worker, claim, NULL::bigint AS branch, updated_at FROM runs_run
WHERE status IN ('running', 'rolling_back') AND worker IS NOT NULL AND worker NOT IN (SELECT key FROM ({HELD_KEYS}) AS held)
UNION ALL
SELECT run_id, worker, claim, id, updated_at FROM runs_branch
WHERE status = 'running' AND worker NOT IN (SELECT key FROM ({HELD_KEYS}) AS held)
ORDER BY updated_at LIMIT %(limit)s
"""
# A backend that is killed (out of memory, say) makes the server begin anew, and cuts every session, but the postmaster stays;
# its checkpointer is a new one. Where we may not see that one's start, the postmaster's has to do.
UP_SINCE = """
SELECT greatest(pg_postmaster_start_time(), max(backend_start)) FROM pg_stat_activity WHERE backend_type = 'checkpointer'
"""
_IS_HELD = f"SELECT EXISTS (SELECT FROM ({HELD_KEYS}) AS held WHERE key = %s)"


def lost(limit: int) -> list[Lost]:
    """Runs and branches whose worker's lease is gone, with the worker and the claim that were looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_LOST, {"limit": limit})
        return [row[:4] for row in cursor.fetchall()]


@transaction.atomic
def take_over(run_id: uuid.UUID, worker: int, claim: int, branch_id: int | None = None) -> bool:
    """Queue what was lost again; its step in flight is a new attempt. False: it is not lost, or somebody was first.

    ``claim`` must still be the one that was looked at: without it two takeovers would both succeed, the second taking
    the run from the worker that has it by then.
    """
    run = moves.lock(run_id)
    row = run if branch_id is None else moves.lock_branch(branch_id, run)
    if (row.worker, row.claim) != (worker, claim) or _is_held(worker):
        return False
    transaction.on_commit(metrics.count_lease_loss, robust=True)
    if isinstance(row, Branch):
        transaction.on_commit(lambda: settling.settle(run_id), robust=True)
    if run.rolls_back and isinstance(row, Run):
        _take_over_undo(run)
    else:
        _take_over(row, run)
    return True


def _take_over(row: Run | Branch, run: Run) -> None:
    began = row.step_started_at is not None
    in_doubt = row.doubt_at is not None  # it was asking, or about to ask, what became of an effect
    # else the database took the worker along
    charged = (began or in_doubt) and (row.step_started_at or row.updated_at) > _up_since()
    losses = row.losses + charged
    idle = bool(row.signal_name) or row.is_decided  # its step has done what it does
    acts = _is_effect(row, run) and not idle
    saved = totals.spared(run) if isinstance(row, Run) else None
    detail = {"in_flight": began, "losses": losses, **({"saved": saved.as_json()} if saved else {})}
    entry = journal.Entry(Kind.WORKER_LOST, row.step, row.attempt, "holdfast", detail, row.step_started_at)
    fields: dict[str, Any] = {"available_at": Now(), "losses": losses, **(saved.added() if saved else {})}
    may_have_acted = acts or (isinstance(row, Run) and not idle)
    doubt: dict[str, Any] = {"doubt_at": Now(), "doubt_reason": "its worker was lost"} if may_have_acted else {}
    if losses >= POISON:
        text = f"{POISON} workers were lost in this step, one after the other; it is not tried again by itself"
        ending.fail(row, row.error_here("Poison", text), entry, **doubt)
        return
    if began or losses > row.losses:
        fields |= {"attempt": row.attempt + 1, **doubt}
    moves.move(row, "put_back", entry, **fields)
    if isinstance(row, Run) and row.requested and not ((began or in_doubt) and acts):
        stop_as_requested(row)
    else:  # an effect in flight is verified before a request is honoured
        bell.ring_on_commit(run.pk)


def _take_over_undo(run: Run) -> None:
    """A compensation is tried again with its own key; after as many losses a person is asked (engine/undoing.py)."""
    began = run.step_started_at is not None
    losses = run.losses + (began and (run.step_started_at or run.updated_at) > _up_since())
    detail = {"in_flight": began, "losses": losses, "undoing": True}
    entry = journal.Entry(Kind.WORKER_LOST, run.step, run.attempt, "holdfast", detail, run.step_started_at)
    moves.move(run, "put_back_undo", entry, available_at=Now(), losses=losses, attempt=run.attempt + began)
    if run.requested:
        stop_as_requested(run)
    else:
        bell.ring_on_commit(run.pk)


def take_over_if_lost(run_id: uuid.UUID) -> bool:
    """What a returned bell leads to: its run, or branches of it, may be in the hands of a dead worker. False: they are not."""
    rows: list[Any] = list(Run.objects.filter(pk=run_id, worker__isnull=False).values_list("worker", "claim"))
    held = Branch.objects.filter(run=run_id, status=BranchStatus.RUNNING)
    rows += held.values_list("worker", "claim", "pk")
    taken = [take_over(run_id, *row) for row in rows if not _is_held(row[0])]
    return any(taken)


def _is_effect(row: Run | Branch, run: Run) -> bool:
    if isinstance(row, Run) and row.fan_out_id is not None:
        return False  # it was joining its branches
    try:
        return registry.version(run.workflow, run.version).is_effect(row.step)
    except (registry.WorkflowUnknown, StepGone):
        return True  # for all that this process knows


def _up_since() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(UP_SINCE)
        found: datetime = cursor.fetchone()[0]
        return found


def _is_held(worker: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_IS_HELD, [worker])
        return bool(cursor.fetchone()[0])
