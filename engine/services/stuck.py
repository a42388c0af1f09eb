"""Steps that run for much longer than they usually do: the run's journal says so once, and people are told."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import F

from runs import hot
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run
from runs.moves import AT_WORK, BranchStatus
from runs.services import journal, moves
from workflows import registry
from workflows.durations import words
from workflows.steps import DEFAULT_TIMEOUT

AT_LEAST = 30.0  # seconds: nothing is stuck sooner
TIMES = 3.0  # longer than so many times the usual
KNOWN = 10  # visits from which on there is a usual
RUNS = 200  # the latest of a workflow, in which visits are looked for

# p95 of the last 100 visits; gates are not among a worker's steps
_USUAL = f"""
SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FROM (
    SELECT extract(epoch FROM at - started_at)::float8 AS seconds FROM checkpoints_checkpoint
    WHERE step = %(step)s AND started_at IS NOT NULL AND run_id IN (
        SELECT id FROM runs_run WHERE workflow = %(workflow)s ORDER BY created_at DESC LIMIT {RUNS}
    ) ORDER BY at DESC LIMIT 100
) AS visits
"""


@dataclass(frozen=True)
class Limit:
    """From how many seconds on a step is stuck, and how that is known."""

    seconds: float
    why: str


def limit_of(workflow: str, version: str, step: str) -> Limit:
    """Three times the p95 of the step's last visits; where there are few, half of its timeout."""
    visits, p95 = hot.one(_USUAL, {"workflow": workflow, "step": step})
    if visits >= KNOWN:
        return Limit(max(AT_LEAST, TIMES * p95), f"usually at most {words(p95)}")
    try:
        timeout = registry.version(workflow, version).find(step).timeout
    except LookupError:
        timeout = DEFAULT_TIMEOUT
    return Limit(max(AT_LEAST, timeout / 2), f"its timeout is {words(timeout)}")


def candidates(limit: int) -> list[uuid.UUID]:
    """Runs with a step, of their own or of a branch, that is in flight for so long that it may be stuck."""
    old = {"step_started_at__lte": database_now() - timedelta(seconds=AT_LEAST), "worker__isnull": False}
    runs = Run.objects.filter(**old, status__in=AT_WORK).order_by("step_started_at")
    branches = Branch.objects.filter(**old, status=BranchStatus.RUNNING).order_by("step_started_at")
    found = [*runs.values_list("pk", flat=True)[:limit], *branches.values_list("run_id", flat=True)[:limit]]
    return list(dict.fromkeys(found))


@transaction.atomic
def note(run_id: uuid.UUID) -> bool:
    """Journal it. False: it is not stuck, or that was said already."""
    run = moves.lock(run_id)
    row = _longest(run)
    if row is None or row.step_started_at is None:
        return False
    seconds = (database_now() - row.step_started_at).total_seconds()
    limit = limit_of(run.workflow, run.version, row.step)
    if seconds < limit.seconds or (run.stuck_at is not None and run.stuck_at >= row.step_started_at):
        return False
    Run.objects.filter(pk=run.pk).update(stuck_at=Now())
    text = f"{row.step} has been at work for {words(seconds)}; {limit.why}"
    moves.record(row, journal.Entry(Kind.NOTE, row.step, row.attempt, "sweeper", {"act": "stuck", "text": text}))
    moves.poke_on_commit(run)
    return True


def _longest(run: Run) -> Run | Branch | None:
    """The row whose step has been in flight for the longest."""
    if run.worker is not None:
        return run
    branches = Branch.objects.filter(run=run, worker__isnull=False).select_related("run")
    return branches.order_by(F("step_started_at").asc(nulls_last=True)).first()
