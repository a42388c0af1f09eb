"""Pages of runs: the list, and one run with its timeline."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from runs import branches, filters, lineage, pages, reading
from runs.access import may
from runs.models import FanOut, Run
from runs.moves import BranchStatus, Status
from workflows import registry

PAGE = 50
WINDOW = 200  # journal entries that a run page opens with, newest at the bottom


@dataclass
class Wanted:
    """The list's filters as its address carries them."""

    status: str | None
    workflow: str | None
    q: str | None
    label: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None


@login_required
def run_list(request: HttpRequest) -> HttpResponse:
    given: dict[str, Any] = {name: request.GET.get(name, "").replace("\0", "") or None for name in ("status", "workflow", "q")}
    wanted = Wanted(**given)
    wanted.status = wanted.status if wanted.status in Status.values else None
    runs = filters.narrow(Run.objects.visible_to(request.user).for_list(), wanted)
    try:
        items, following = pages.page(runs, key="created_at", cursor=request.GET.get("cursor"), limit=PAGE)
    except pages.CursorInvalid:
        items, following = pages.page(runs, key="created_at", cursor=None, limit=PAGE)
    context = {
        "runs": branches.count(items),
        "next": following,
        "wanted": wanted,
        "statuses": list(Status),
        "workflows": registry.all_newest(),
        "may_start": may(request.user, "operate"),
        "may_see": may(request.user, "see"),
    }
    return render(request, "runs/list.html", context)


@login_required
def run_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    runs = Run.objects.visible_to(request.user).select_related("created_by", "forked_from")
    run = get_object_or_404(runs, pk=run_id)
    entries = reading.journal(run, newest_first=True, limit=WINDOW)[::-1]
    context = {"run": run, "entries": entries, "after": entries[-1]["seq"] if entries else -1, **_earlier(entries)}
    return render(request, "runs/detail.html", context)


@login_required
def journal_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Entries before one, for the button above the oldest that is shown."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    before = whole_number(request.GET.get("before", ""))
    entries = reading.journal(run, before=before, newest_first=True, limit=WINDOW)[::-1]
    return render(request, "runs/_earlier.html", {"run": run, "entries": entries, **_earlier(entries)})


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


def _earlier(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"earlier": entries[0]["seq"] if entries and entries[0]["seq"] > 0 else None}
