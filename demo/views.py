"""The worker's card on a run's page, with the button that kills it."""

import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from demo import killing
from runs.access import NotPermitted, may
from runs.models import Run


@login_required
def worker_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    return _card(request, get_object_or_404(Run.objects.visible_to(request.user), pk=run_id))


@login_required
@require_POST
def worker_kill(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    refused, status = "", 200
    try:
        killing.kill_worker(run_id, by=request.user)
    except killing.NobodyToKill as error:
        refused, status = str(error), 409
    except NotPermitted as error:
        refused, status = str(error), 403
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect("run-detail", run_id=run_id)
    return _card(request, run, refused, status)


def _card(request: HttpRequest, run: Run, refused: str = "", status: int = 200) -> HttpResponse:
    run.refresh_from_db()
    context = {
        "run": run,
        "pid": killing.worker_process(run),
        "aftermath": killing.aftermath(run),
        "may_kill": may(request.user, "operate"),
        "refused": refused,
    }
    return render(request, "demo/worker.html", context, status=status)
