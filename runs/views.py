"""Parts of a run's page: its branches, and its family."""

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from runs import branches, lineage
from runs.models import FanOut, Run
from runs.moves import BranchStatus, Status


@login_required
def branch_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """The branches of a fan-out, a page of them; a part of the run's page that fetches itself again."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    fan_out = branches.fan_out_of(run, whole_number(request.GET.get("fan_out", "")))
    context: dict[str, Any] = {"run": run, "fan_out": fan_out, "here": request.get_full_path()}
    if fan_out is not None:
        has_failed = run.status == Status.FAILED and fan_out.branches.filter(status=BranchStatus.FAILED).exists()
        chosen = request.GET.get("status", "failed" if has_failed else "")
        first = whole_number(request.GET.get("after", ""))
        rows, after = branches.page(fan_out, status=chosen, after=-1 if first is None else first)
        context |= {
            "branches": [branches.as_json(row, run, fan_out) for row in rows],
            "after": after,
            "before": first is not None,
            "page": branches.PAGE,
            "chosen": chosen,
            "tabs": _branch_tabs(fan_out),
            "others": run.fan_outs.exclude(pk=fan_out.pk).order_by("-seq")[:20],
        }
    template = "branches/list.html#branches" if request.htmx else "branches/list.html"  # type: ignore[attr-defined]
    return render(request, template, context)


@login_required
def lineage_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """The family that the run belongs to."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    return render(request, "runs/lineage.html", {"run": run, "tree": lineage.tree(run)})


def _branch_tabs(fan_out: FanOut) -> list[tuple[str, str, int]]:
    count = dict(fan_out.branches.values_list("status").annotate(Count("pk")))
    words = {"failed": "Failed", "waiting": "Waiting", "running": "Running", "queued": "Queued", "succeeded": "Done"}
    return [("", "All", fan_out.total), *((name, text, count.get(name, 0)) for name, text in words.items())]


def whole_number(text: str) -> int | None:
    """A number from an address or a form, or None: digits that fit a bigint."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
