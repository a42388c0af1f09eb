"""Retention: what is left of a run that ended long enough ago is its last state, its decisions, and the proof.

Pruned entries keep their place, their kind and their hashes, so that the chain still holds from the first entry to the last.
"""

from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from checkpoints.models import Content
from checkpoints.verifying import contents_of, first_kept
from runs import hot
from runs.clock import Now
from runs.models import LASTING, Branch, Run, Signal
from runs.moves import FINAL
from runs.services import moves
from runs.versions import runs_of
from workflows import registry

BATCH = 50  # runs that one call prunes
ROWS = 1000  # rows that one statement touches
_PRUNE_CHECKPOINTS = """
UPDATE checkpoints_checkpoint SET delta = NULL, keyframe = NULL, logs = NULL WHERE run_id = %(run)s AND seq IN (
    SELECT seq FROM checkpoints_checkpoint WHERE run_id = %(run)s AND seq < %(first)s AND delta IS NOT NULL LIMIT %(rows)s
) RETURNING seq
"""
_PRUNE_EVENTS = """
UPDATE runs_event SET detail = NULL WHERE run_id = %(run)s AND seq IN (
    SELECT seq FROM runs_event WHERE run_id = %(run)s AND detail IS NOT NULL AND NOT kind = ANY(string_to_array(%(kept)s, ','))
    LIMIT %(rows)s
) RETURNING seq
"""


def prune(limit: int = BATCH) -> int:
    """Prune up to ``limit`` runs whose workflow's retention is over. How many were."""
    return sum(prune_run(run) for run in due(limit))


def due(limit: int) -> list[Run]:
    """Finished runs beyond their retention, oldest first; not one whose results an unfinished fork may still take."""
    wanted = Q()
    for workflow in registry.all_versions():
        if workflow.retention is not None:
            wanted |= runs_of(workflow) & Q(finished_at__lt=Now() - timedelta(seconds=workflow.retention))
    begun = Q(pruned_at__isnull=False, input__isnull=False)  # the input goes last: a prune that was cut off is taken up again
    runs = Run.objects.filter(begun | (wanted & Q(pruned_at=None)) if wanted else begun, status__in=FINAL, broken_at=None)
    taking = Run.objects.unfinished().filter(reuse__isnull=False).values("forked_from")
    return list(runs.exclude(pk__in=taking).only("pk").order_by("finished_at")[:limit])


def prune_run(run: Run) -> bool:
    """Prune one run, in short transactions, the first of which closes it to retries. False: it is not over any more."""
    if not _close(run):
        return False
    first = first_kept(run)
    for statement in (_PRUNE_CHECKPOINTS, _PRUNE_EVENTS):
        while _batch(run, statement, first):
            pass
    _finish(run, first)
    return True


@transaction.atomic
def _close(run: Run) -> bool:
    taking = Run.objects.unfinished().filter(forked_from=run.pk, reuse__isnull=False)  # a fork locks its origin, too
    if not moves.lock(run.pk).is_final or taking.exists():
        return False
    Run.objects.filter(pk=run.pk, pruned_at=None).update(pruned_at=Now())
    return True


@transaction.atomic
def _batch(run: Run, statement: str, first: int) -> bool:
    """Whether there may be more."""
    moves.lock(run.pk)
    values = {"run": run.pk, "first": first, "rows": ROWS, "kept": ",".join(LASTING)}
    return len(hot.rows(statement, values)) == ROWS


@transaction.atomic
def _finish(run: Run, first: int) -> None:
    moves.lock(run.pk)
    kept = contents_of(run, first)
    Content.objects.filter(run=run).exclude(hash__in=[bytes.fromhex(one) for one in kept]).delete()
    Branch.objects.filter(run=run).update(done=[], arg=None, saved=None)
    Signal.objects.filter(run=run).update(payload=None)
    Run.objects.filter(pk=run.pk).update(input=None, saved=None)
