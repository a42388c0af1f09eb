"""Taking a run back from a worker that has died."""

import uuid
from datetime import datetime

from django.db import connection, transaction

from checkpoints import totals
from engine import endings, metrics
from engine.lease import HELD_KEYS
from runs import bell
from runs.clock import Now
from runs.models import Kind, Run
from runs.moves import Status
from runs.services import journal, moves
from workflows import registry
from workflows.attempts import POISON
from workflows.errors import StepGone

_LOST = f"""
SELECT id, worker, claim FROM runs_run
WHERE status = 'running' AND worker IS NOT NULL AND worker NOT IN (SELECT key FROM ({HELD_KEYS}) AS held)
ORDER BY updated_at LIMIT %(limit)s
"""
# A backend that is killed (out of memory, say) makes the server begin anew, and cuts every session, but the postmaster stays;
# its checkpointer is a new one. Where we may not see that one's start, the postmaster's has to do.
UP_SINCE = """
SELECT greatest(pg_postmaster_start_time(), max(backend_start)) FROM pg_stat_activity WHERE backend_type = 'checkpointer'
"""
_IS_HELD = f"SELECT EXISTS (SELECT FROM ({HELD_KEYS}) AS held WHERE key = %s)"


def lost(limit: int) -> list[tuple[uuid.UUID, int, int]]:
    """Runs whose worker's lease is gone, with the worker and the claim that were looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_LOST, {"limit": limit})
        return [(row[0], int(row[1]), int(row[2])) for row in cursor.fetchall()]


@transaction.atomic
def take_over(run_id: uuid.UUID, worker: int, claim: int) -> bool:
    """Queue a lost run again; its step in flight is a new attempt. False: it is not lost, or somebody was first.

    ``claim`` must still be the one that was looked at: without it two takeovers would both succeed, the second taking
    the run from the worker that has it by then.
    """
    run = moves.lock(run_id)
    if (run.status, run.worker, run.claim) != (Status.RUNNING, worker, claim) or _is_held(worker):
        return False
    began = run.step_started_at is not None
    in_doubt = run.doubt_at is not None  # it was asking, or about to ask, what became of an effect
    # else the database took the worker along
    charged = (began or in_doubt) and (run.step_started_at or run.updated_at) > _up_since()
    losses = run.losses + charged
    saved = totals.spared(run)
    transaction.on_commit(metrics.count_lease_loss, robust=True)
    detail = {"in_flight": began, "losses": losses, "saved": saved.as_json()}
    entry = journal.Entry(Kind.WORKER_LOST, run.step, run.attempt, "holdfast", detail, run.step_started_at)
    if not began and losses < POISON:
        moves.move(run, "put_back", entry, available_at=Now(), losses=losses, **saved.added())
    elif losses >= POISON:
        text = f"{POISON} workers were lost in this step, one after the other; it is not tried again by itself"
        error = run.error_here("Poison", text)
        ended = journal.Entry(Kind.ENDED, run.step, run.attempt, "", {"status": "failed", "error": error})
        moves.move(run, "fail", entry, ended, error=error, doubt_at=Now(), doubt_reason="its worker was lost")
        return True
    else:
        moves.move(
            run, "put_back", entry, available_at=Now(), attempt=run.attempt + 1, losses=losses,
            doubt_at=Now(), doubt_reason="its worker was lost", **saved.added(),
        )  # fmt: skip
    if run.requested and not ((began or in_doubt) and _is_effect(run)):
        endings.stop_as_requested(run)
    else:  # an effect in flight is verified before a request is honoured
        bell.ring_on_commit(run.pk)
    return True


def take_over_if_lost(run_id: uuid.UUID) -> bool:
    """What a returned bell leads to: its run may be in the hands of a worker that has died. False: it is not."""
    row = Run.objects.filter(pk=run_id, status=Status.RUNNING).values_list("worker", "claim").first()
    return row is not None and row[0] is not None and not _is_held(row[0]) and take_over(run_id, row[0], row[1])


def _is_effect(run: Run) -> bool:
    try:
        return registry.version(run.workflow, run.version).is_effect(run.step)
    except (registry.WorkflowUnknown, StepGone):
        return False


def _up_since() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(UP_SINCE)
        found: datetime = cursor.fetchone()[0]
        return found


def _is_held(worker: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_IS_HELD, [worker])
        return bool(cursor.fetchone()[0])
