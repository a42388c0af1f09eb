"""A run's pages: its timeline, its journal, its graph and its logs."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from console.run_page import graph, header, timeline
from runs import reading
from runs.models import Run
from runs.views import whole_number

WINDOW = 200  # entries, or lines, that a page opens with
TICKS = 5
LEVELS = ("debug", "info", "warning", "error")


@login_required
def run_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """The timeline: the newest part, what was before, or only what is asked for."""
    run = _run(request, run_id)
    show = request.GET.get("show", "")
    show = show if show in timeline.FILTERS else ""
    found = timeline.window(
        run, show=show, before=whole_number(request.GET.get("before", "")), at=whole_number(request.GET.get("at", ""))
    )
    now = timeline.now_ms(run)
    context = {
        **timeline.parted(found.rows),
        "earlier": found.earlier,
        "later": found.later,
        "after": found.after,
        "now_ms": round(now),
        "ticks": [now * part / (TICKS - 1) for part in range(TICKS)],
        "filters": timeline.FILTERS.items(),
        "show": show,
        "here": request.get_full_path(),
        "fans_out": run.fan_out_id is not None or run.fan_outs.exists(),
        "tab": "filtered" if show or found.later else "timeline",
    }
    return _page(request, "runs/detail.html#timeline" if _is_part(request) else "runs/detail.html", run, context)


@login_required
def journal_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Every entry, with the state after it beside it; before one, for the button above the oldest that is shown."""
    run = _run(request, run_id)
    before = whole_number(request.GET.get("before", ""))
    entries = reading.journal(run, before=before, newest_first=True, limit=WINDOW)[::-1]
    after = entries[-1]["seq"] if entries else -1
    context = {"entries": entries, "earlier": reading.earlier(entries), "after": after, "tab": "journal"}
    return _page(request, "runs/journal.html#entries" if _is_part(request) else "runs/journal.html", run, context)


@login_required
def graph_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Where the run is in its workflow, which way it came, and how often."""
    run = _run(request, run_id)
    context = {"drawing": graph.of_run(run), "after": run.seq, "tab": "graph"}
    return _page(request, "runs/graph.html#graph" if _is_part(request) else "runs/graph.html", run, context)


@login_required
def log_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """What its steps logged, from the entry after ``after`` on; ``level`` and ``q`` narrow it."""
    run = _run(request, run_id)
    after, level, q = whole_number(request.GET.get("after", "")), request.GET.get("level", ""), request.GET.get("q", "")
    lines, following = reading.logs(run, after=-1 if after is None else after, limit=WINDOW)
    least = LEVELS.index(level) if level in LEVELS else 0
    kept = [line for line in lines if _rank(line) >= least and q.casefold() in f"{line['message']} {line['fields']}".casefold()]
    context = {
        "lines": kept,
        "following": following,
        "levels": LEVELS,
        "level": level,
        "q": q,
        "narrowed": urlencode({"level": level, "q": q}) if level or q else "",
        "has_any": bool(lines),
        "last": following if following is not None else run.seq,
        "after": run.seq,
        "tab": "logs",
    }
    return _page(request, "runs/logs.html#lines" if _is_part(request) else "runs/logs.html", run, context)


def _rank(line: dict[str, Any]) -> int:
    return LEVELS.index(line["level"]) if line["level"] in LEVELS else len(LEVELS) - 1


def _run(request: HttpRequest, run_id: uuid.UUID) -> Run:
    runs = Run.objects.visible_to(request.user).select_related("created_by", "forked_from", "fan_out")
    return get_object_or_404(runs, pk=run_id)


def _is_part(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined] # django-htmx's


def _page(request: HttpRequest, template: str, run: Run, context: dict[str, Any]) -> HttpResponse:
    """A part of the page needs no header."""
    frame = {"run": run} if "#" in template else header.context(run)
    return render(request, template, {**frame, **context})
