"""The first page: what runs, what waits, what is wrong, what it costs."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from console.overview import failures, numbers, over_time
from console.overview.spans import SPANS
from runs.access import may
from runs.clock import database_now
from runs.models import Run, WorkflowHold
from workflows import registry


@login_required
def overview(request: HttpRequest) -> HttpResponse:
    if not may(request.user, "see"):
        return render(request, "overview.html", {"may_see": False})
    span = SPANS.get(request.GET.get("span", ""), SPANS["24h"])
    workflows = registry.all_newest()
    since = database_now() - span.width * span.parts
    context = {
        "may_see": True,
        "may_operate": may(request.user, "operate"),
        "span": span,
        "spans": SPANS.values(),
        "numbers": numbers.numbers(),
        "machinery": numbers.machinery(),
        "failures": failures.grouped(since),
        "held": {hold.workflow for hold in WorkflowHold.objects.open()},
        "known": {workflow.name for workflow in workflows},
        "charts": over_time.all_charts(span),
        "workflows": workflows,
        "has_runs": Run.objects.exists(),
        "here": request.get_full_path(),
    }
    part = bool(request.htmx)  # type: ignore[attr-defined] # django-htmx's
    return render(request, "overview.html#overview" if part else "overview.html", context)
