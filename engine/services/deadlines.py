"""The end of a run whose deadline has passed, or that has made no progress for too long, while nobody has it."""

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from approvals.services import ending
from engine.requests import DEADLINE_PASSED
from engine.services import settling
from runs.clock import Now
from runs.models import Run, RunQuerySet
from runs.moves import BranchStatus, Status
from runs.services import moves
from runs.versions import runs_of
from workflows import registry

EXPIRED = "expired"  # the reason of such a cancel


@transaction.atomic
def end_overdue(run_id: uuid.UUID) -> bool:
    """Fail the run. False: it is not overdue any more; or its effect is in doubt, and a worker ends it once it knows."""
    run = moves.lock(run_id)
    if not Run.objects.overdue().filter(pk=run.pk).exists():
        return False
    settling.tell_rest(run)
    ending.fail(run, run.error_here(DEADLINE_PASSED.type, DEADLINE_PASSED.message), by="policy")
    return True


def expired() -> RunQuerySet:
    """Runs without progress for longer than their workflow's ``expires``, and in nobody's hands; one that sleeps progresses."""
    wanted = Q(pk=None)
    for workflow in registry.all_versions():
        if workflow.expires is not None:
            wanted |= runs_of(workflow) & Q(updated_at__lt=Now() - timedelta(seconds=workflow.expires))
    ahead = [Status.QUEUED, Status.WAITING, Status.HELD, Status.RUNNING]
    runs = Run.objects.filter(wanted, status__in=ahead, worker=None, rolls_back_from=None, imported_at=None, doubt_at=None)
    return runs.exclude(pause__kind="sleep", available_at__gt=Now()).exclude(branches__status=BranchStatus.RUNNING)


@transaction.atomic
def end_expired(run_id: uuid.UUID) -> bool:
    """Cancel the run. False: it has moved since."""
    run = moves.lock(run_id)
    if not expired().filter(pk=run.pk).exists():
        return False
    settling.tell_rest(run)
    ending.cancel(run, by="policy", reason=EXPIRED)
    return True
