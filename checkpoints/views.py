"""The state at a checkpoint."""

import uuid

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from checkpoints import inspect, store
from runs.models import Run


@login_required
def checkpoint_detail(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    try:
        context = {"run": run, "checkpoint": inspect.checkpoint_as_json(run, seq)}
    except store.CheckpointMissing:
        raise Http404 from None
    except store.HistoryBroken as error:
        context = {"run": run, "broken": str(error), "seq": seq}
    template = "checkpoints/detail.html#state" if request.htmx else "checkpoints/detail.html"  # type: ignore[attr-defined]
    return render(request, template, context)
