"""Who runs what, since when: each worker process by the lease that it holds."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from engine import health
from engine.lease import HELD_KEYS
from runs import hot
from runs.access import may
from runs.models import Branch, Run
from runs.moves import AT_WORK, BranchStatus

_LEASES = f"""
SELECT held.key, activity.application_name, coalesce(host(activity.client_addr), ''), activity.backend_start
FROM ({HELD_KEYS}) AS held JOIN pg_stat_activity AS activity USING (pid)
WHERE activity.application_name LIKE 'holdfast lease %'
"""


@dataclass(frozen=True)
class Worker:
    """A process that lives. ``run`` is None while it has nothing to do."""

    process: str
    address: str
    since: datetime
    run: Run | None = None
    step: str = ""
    branch: int | None = None
    step_since: datetime | None = None


def workers() -> list[Worker]:
    """The busy ones first, those at their step for the longest at the top."""
    leases = hot.rows(_LEASES, {})
    keys = [key for key, *_ in leases]
    at_work: dict[int | None, tuple[Run, str, int | None, datetime | None]] = {
        run.worker: (run, run.step, None, run.step_started_at)
        for run in Run.objects.filter(worker__in=keys, status__in=AT_WORK).defer("input", "saved")
    }
    for branch in Branch.objects.filter(worker__in=keys, status=BranchStatus.RUNNING).select_related("run"):
        at_work[branch.worker] = (branch.run, branch.step, branch.index, branch.step_started_at)
    found = [
        Worker(name.removeprefix("holdfast lease "), address, since, *at_work.get(key, ()))
        for key, name, address, since in leases
    ]
    return sorted(found, key=lambda one: (one.run is None, one.step_since or one.since, one.process))


@login_required
def worker_list(request: HttpRequest) -> HttpResponse:
    may_see = may(request.user, "see")
    context = {"may_see": may_see, "workers": workers() if may_see else [], "checks": health.parts()}
    return render(request, "workers.html#workers" if request.htmx else "workers.html", context)  # type: ignore[attr-defined]
