"""The end of a run whose deadline has passed while it queued or waited. One that runs ends at its next boundary."""

import uuid

from django.db import transaction

from approvals.services import ending
from engine.requests import DEADLINE_PASSED
from engine.services import settling
from runs.models import Run
from runs.services import moves


@transaction.atomic
def end_overdue(run_id: uuid.UUID) -> bool:
    """Fail the run. False: it is not overdue any more; or its effect is in doubt, and a worker ends it once it knows."""
    run = moves.lock(run_id)
    if not Run.objects.overdue().filter(pk=run.pk).exists():
        return False
    settling.tell_rest(run)
    ending.fail(run, run.error_here(DEADLINE_PASSED.type, DEADLINE_PASSED.message), by="policy")
    return True
