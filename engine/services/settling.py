"""What becomes of a run whose branches have moved: it waits, stops as requested, fails, or comes to its join.

Whoever has moved a branch asks after the commit; two may, and the run's lock lets them act one after the other. None may; then
the sweeper does.
"""

import uuid
from collections import Counter
from decimal import Decimal
from typing import Any

from django.db import models, transaction
from django.db.models import Count, F

from approvals.services import ending
from engine.requests import DEADLINE_PASSED, stop_as_requested
from runs import bell
from runs.clock import Now, database_now
from runs.models import Branch, FanOut, Kind, Run
from runs.moves import BRANCH_FINAL, BranchStatus, Requested, Status
from runs.services import journal, moves

ERRORS_TOLD = 5  # of the failed branches, in one journal entry


class _Length(models.Func):
    """How many items a JSON list has."""

    function = "jsonb_array_length"
    output_field = models.IntegerField()


@transaction.atomic
def settle(run_id: uuid.UUID) -> bool:
    """Make the move that the run's branches allow. False: none."""
    run = moves.lock(run_id)
    return run.is_fanned_out and settle_locked(run)


def settle_locked(run: Run) -> bool:
    """The same for a run that is locked, and stands in its fan-out whatever its status."""
    branches = Branch.objects.filter(fan_out=run.fan_out_id)
    if branches.filter(status=BranchStatus.RUNNING).exists():
        return False  # whoever has that one asks again
    if run.requested:
        return _stop(run, branches)
    failed = None
    if run.fan_out is not None and run.fan_out.on_failure == "fail":
        failed = branches.filter(status=BranchStatus.FAILED).order_by("index").first()
    if failed is not None:
        _fail(run, failed)
        return True
    if run.deadline_at is not None and run.deadline_at <= database_now():
        tell_rest(run)
        ending.fail(run, run.error_here(DEADLINE_PASSED.type, DEADLINE_PASSED.message), by="policy")
        return True
    statuses = set(branches.open().values_list("status", flat=True).distinct())
    if BranchStatus.QUEUED in statuses:
        return run.status != Status.RUNNING and bool(moves.move(run, "branches_move"))
    if BranchStatus.WAITING in statuses:
        tell(run)
        return run.status != Status.WAITING and bool(moves.move(run, "branches_wait"))
    tell(run, last=True)
    moves.move(run, "join", available_at=Now())
    bell.ring_on_commit(run.pk)
    return True


def _stop(run: Run, branches: Any) -> bool:
    """A cancel waits until an effect in doubt has been looked up; a roll back looks it up itself."""
    in_doubt = branches.filter(status=BranchStatus.QUEUED, doubt_at__isnull=False)
    if run.requested == Requested.CANCEL and in_doubt.exists():
        return False
    if run.requested == Requested.HOLD:
        tell(run)
    else:
        tell_rest(run)
    stop_as_requested(run)
    return True


def _fail(run: Run, failed: Branch) -> None:
    tell_rest(run)
    error: dict[str, Any] = failed.error or {}
    if error.get("type") == ending.REJECTED:
        ending.reject(run, by="", reason=str(error["message"]))
        return
    text = f"branch {failed.index}: {error.get('message', '')}"
    ending.fail(run, {**error, "message": text[:2000]})


@transaction.atomic
def hold(run_id: uuid.UUID, why: str) -> None:
    """Ask for a hold, which is honoured when no branch is in a step any more. A cancel, or another hold, comes first."""
    run = moves.lock(run_id)
    if not run.is_fanned_out:
        return
    if run.requested == Requested.CANCEL:
        for branch in Branch.objects.filter(fan_out=run.fan_out_id, status=BranchStatus.QUEUED, doubt_at__isnull=False):
            branch.run = run
            ending.fail(branch, branch.error_here("NotLookedUp", why))
    elif not run.requested:
        Run.objects.filter(pk=run.pk).update(requested=Requested.HOLD, reason=why)
        run.refresh_from_db()
    settle_locked(run)


@transaction.atomic
def tell_of(run_id: uuid.UUID) -> bool:
    """Journal what has been finished since the last time. False: nothing."""
    run = moves.lock(run_id)
    return run.fan_out_id is not None and tell(run)


def tell(run: Run, *, last: bool = False) -> bool:
    """One ``branch`` entry for all branches that have ended since the last one; what they used is added to the run.

    ``last``: none comes after these, so that one mark on the fan-out does for all of them.
    """
    assert run.fan_out is not None
    if run.fan_out.all_told:
        return False
    branches = Branch.objects.filter(fan_out=run.fan_out)
    untold = branches.filter(status__in=BRANCH_FINAL, told_at__isnull=True)
    ended = list(untold.order_by("index").only("status", "index", "error", "done", "told_steps"))
    if not ended:
        return False
    count = Counter(dict(branches.values_list("status").annotate(Count("pk"))))
    usage = _usage(ended)
    failed = [branch for branch in ended if branch.status == BranchStatus.FAILED]
    detail: dict[str, Any] = {
        "of": run.fan_out.total,
        "done": count[BranchStatus.SUCCEEDED],
        "failed": count[BranchStatus.FAILED],
        "new": len(ended),
        "errors": [branch.error for branch in failed[:ERRORS_TOLD]],
        **({"usage": {**usage, "cost_usd": str(usage["cost_usd"])}} if any(usage.values()) else {}),
    }
    seq = journal.record(run.pk, journal.Entry(Kind.BRANCH, run.fan_out.sender, None, "", detail))
    if last:
        FanOut.objects.filter(pk=run.fan_out.pk).update(all_told=True)
    else:
        mark_told(Branch.objects.filter(pk__in=[branch.pk for branch in ended]), seq)
    _add_usage(run, usage)
    moves.poke_on_commit(run)
    return True


def _add_usage(run: Run, usage: dict[str, Any]) -> None:
    Run.objects.filter(pk=run.pk).update(**{name: F(name) + value for name, value in usage.items()})


def tell_rest(run: Run) -> None:
    """What is still to be told of a run that ends in its fan-out: unfinished branches may have used something too."""
    if run.fan_out is None or run.fan_out.all_told:
        return
    tell(run)
    unfinished = Branch.objects.filter(fan_out=run.fan_out).annotate(steps=_Length("done")).filter(steps__gt=F("told_steps"))
    _add_usage(run, _usage(list(unfinished.only("done", "told_steps"))))
    unfinished.update(told_steps=_Length("done"))


def mark_told(branches: Any, seq: int) -> None:
    """The run's totals hold what these branches have used, and its journal tells of them at ``seq``."""
    branches.update(told_at=seq, told_steps=_Length("done"))


def _usage(branches: list[Branch]) -> dict[str, Any]:
    """What their finished steps used that the run's totals do not hold yet; failed attempts were added at once."""
    steps = [step["usage"] for branch in branches for step in branch.done[branch.told_steps :] if "usage" in step]
    return {
        "input_tokens": sum(usage["input_tokens"] for usage in steps),
        "output_tokens": sum(usage["output_tokens"] for usage in steps),
        "cost_usd": sum((Decimal(usage["cost_usd"]) for usage in steps), Decimal(0)),
    }
