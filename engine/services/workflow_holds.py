"""Holding a whole workflow: no step of any of its runs starts until it is released."""

from functools import partial
from typing import Any

from django.db import IntegrityError, transaction

from engine.services.starting import check_reason
from runs import bell, poke
from runs.access import require
from runs.clock import Now
from runs.models import Act, Run, WorkflowHold
from runs.moves import Status
from runs.services import audit
from workflows import registry

RUNG = 100  # runs; the sweeper rings for the rest


class HoldRefused(Exception):
    """The workflow is held already, or is not held."""


def hold(workflow: str, *, by: Any, reason: str = "") -> WorkflowHold:
    """From the commit on no step of the workflow starts; a step in flight is finished. Runs keep their status.

    Raises NotPermitted, registry.WorkflowUnknown, InputInvalid, HoldRefused.
    """
    require(by, "operate")
    registry.newest(workflow)
    check_reason(reason)
    try:
        with transaction.atomic():
            held = WorkflowHold.objects.create(workflow=workflow, reason=reason, by=by.get_username())
            audit.record(by, Act.WORKFLOW_HELD, subject=workflow, reason=reason)
            _touch(workflow)
            return held
    except IntegrityError:
        raise HoldRefused(f"{workflow} is held already") from None


@transaction.atomic
def release(workflow: str, *, by: Any, reason: str = "") -> None:
    """Let the workflow's runs go on; those that are due are rung for. Raises like ``hold``."""
    require(by, "operate")
    registry.newest(workflow)
    check_reason(reason)
    held = WorkflowHold.objects.open().filter(workflow=workflow)
    if not held.update(released_at=Now(), released_by=by.get_username()):
        raise HoldRefused(f"{workflow} is not held")
    audit.record(by, Act.WORKFLOW_RELEASED, subject=workflow, reason=reason)
    due = Run.objects.filter(workflow=workflow, status=Status.QUEUED, available_at__lte=Now()).order_by("available_at")
    for run_id in due.values_list("pk", flat=True)[:RUNG]:
        bell.ring_on_commit(run_id)
    _touch(workflow)


def _touch(workflow: str) -> None:
    """Give the runs that are about to start a step a new version of their row.

    A boundary or a claim that has asked already, and not committed yet, is waited for; one that waits for the row asks again
    when it has it, and by then the hold is committed. Live pages look again too.
    """
    runs = Run.objects.filter(workflow=workflow, status__in=(Status.RUNNING, Status.QUEUED))
    runs.update(updated_at=Now())
    for run_id in runs.order_by("-created_at").values_list("pk", flat=True)[:RUNG]:
        transaction.on_commit(partial(poke.run_changed, run_id), robust=True)
