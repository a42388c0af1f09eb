"""The end of a run whose deadline has passed while it queued or waited. One that runs ends at its next boundary."""

import uuid

from django.db import transaction

from approvals.services.withdrawing import withdraw_all
from engine.endings import DEADLINE_PASSED
from runs.models import Kind, Run
from runs.services import journal, moves


@transaction.atomic
def end_overdue(run_id: uuid.UUID) -> bool:
    """Fail the run. False: it is not overdue any more; or its effect is in doubt, and a worker ends it once it knows."""
    run = moves.lock(run_id)
    if not Run.objects.overdue().filter(pk=run.pk).exists():
        return False
    withdraw_all(run, by="policy", reason="the run's deadline has passed")
    error = run.error_here(DEADLINE_PASSED.type, DEADLINE_PASSED.message)
    ended = journal.Entry(Kind.ENDED, run.step, None, "policy", {"status": "failed", "error": error})
    moves.move(run, "fail", ended, error=error)
    return True
