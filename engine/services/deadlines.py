"""The end of a run whose deadline has passed, or that has made no progress for too long, while nobody has it."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from approvals.services import ending
from engine.pausing import FOREVER
from engine.requests import DEADLINE_PASSED
from engine.services import settling
from runs.clock import Now
from runs.models import Branch, Run, RunQuerySet
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
    """Runs without progress for longer than their workflow's ``expires``, and in nobody's hands.

    What sleeps, or waits out a retry, makes progress until it is due; what waits for a signal does not.
    """
    wanted = Q(pk=None)
    for workflow in registry.all_versions():
        if workflow.expires is not None:
            since = Now() - timedelta(seconds=workflow.expires)
            moving = Branch.objects.filter(fan_out=OuterRef("fan_out")).filter(_later_than(since))
            wanted |= runs_of(workflow) & ~_later_than(since) & ~Q(Exists(moving))
    ahead = [Status.QUEUED, Status.WAITING, Status.HELD, Status.RUNNING]
    runs = Run.objects.filter(wanted, status__in=ahead, worker=None, rolls_back_from=None, imported_at=None, doubt_at=None)
    return runs.exclude(branches__status=BranchStatus.RUNNING)


def _later_than(since: Any) -> Q:
    return Q(updated_at__gte=since) | Q(available_at__gte=since, available_at__lt=FOREVER)


@transaction.atomic
def end_expired(run_id: uuid.UUID) -> bool:
    """Cancel the run. False: it has moved since."""
    run = moves.lock(run_id)
    if not expired().filter(pk=run.pk).exists():
        return False
    settling.tell_rest(run)
    ending.cancel(run, by="policy", reason=EXPIRED)
    return True
