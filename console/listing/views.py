"""The list of runs: a typed query, views of it, and what is new since it was opened."""

from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from approvals.models import Gate
from console.listing import columns, completing, sorting
from console.listing.system_views import SYSTEM
from console.listing.wanted import Wanted, narrowed, wanted
from console.models import SavedView
from console.services import views as saved_views
from runs import branches
from runs import query as queries
from runs.access import ROLES, may
from runs.models import Run
from runs.moves import Status
from workflows import registry

COUNTED = 1000  # beyond that it is "1000+"


@login_required
def run_list(request: HttpRequest) -> HttpResponse:
    found = wanted(request.GET, request.user)
    return _page(request, found, status=422 if found.error else 200)


@login_required
def completion_list(request: HttpRequest) -> HttpResponse:
    """What can follow in the query that is being typed."""
    typed = request.GET.get("typed", "")[: queries.LIMIT].replace("\0", "")
    found = completing.completions(typed) if may(request.user, "see") else []
    return render(request, "runs/_completions.html", {"completions": found})


@login_required
def news_detail(request: HttpRequest) -> HttpResponse:
    """How many runs that are wanted have come since the page was opened."""
    found = wanted(request.GET, request.user)
    try:
        since = datetime.fromisoformat(request.GET.get("since", ""))
        count = narrowed(found, request.user).filter(created_at__gt=since)[: COUNTED + 1].count()
    except ValueError:
        count = 0
    return render(request, "runs/_news.html", {"count": count, "wanted": found})


@login_required
@require_POST
def view_create(request: HttpRequest) -> HttpResponse:
    """Save the list as a view."""
    given = {name: request.POST.get(name, "") for name in ("name", "query", "sort", "shared_with")}
    shown = columns.chosen(request.POST.get("columns", "").split(","))
    try:
        view = saved_views.save(by=request.user, columns=shown, **given)
    except saved_views.ViewInvalid as error:
        found = wanted(request.POST, request.user)
        return _page(request, found, status=422, view_errors=error.errors, view_name=given["name"])
    return redirect(f"{reverse('run-list')}?view={view.pk}")


@login_required
@require_POST
def view_delete(request: HttpRequest, view_id: int) -> HttpResponse:
    view = get_object_or_404(SavedView.objects.visible_to(request.user), pk=view_id)
    saved_views.delete(view, by=request.user)
    return redirect("run-list")


def _page(request: HttpRequest, found: Wanted, *, status: int = 200, **more: Any) -> HttpResponse:
    runs = narrowed(found, request.user)
    page = sorting.page(runs.for_list(), order=found.sort, cursor=request.GET.get("cursor", ""))
    count = runs[: COUNTED + 1].count() if page.newer or page.older else len(page.runs)
    saved = list(SavedView.objects.visible_to(request.user).for_list())
    optional = [(name, label) for name, label in columns.ALL.items() if name not in columns.ALWAYS]
    context = {
        "wanted": found,
        "runs": _asked(branches.count(page.runs)),
        "newer": page.newer and found.address(cursor=page.newer),
        "older": page.older and found.address(cursor=page.older),
        "count": f"{COUNTED}+" if count > COUNTED else count,
        "heads": [_head(name, found) for name in found.columns],
        "hidden": columns.hidden(found.columns),
        "all_columns": [(name, label, name in found.columns) for name, label in optional],
        "chips": [(term, found.address(query=queries.without(found.terms, place))) for place, term in enumerate(found.terms)],
        "orders": [(order, _order_words(order), order == found.sort) for order in sorting.ORDERS],
        "system": SYSTEM.values(),
        "saved": saved,
        "own": next((view for view in saved if str(view.pk) == found.view and view.owner_id == request.user.pk), None),
        "roles": ROLES,
        "workflows": registry.all_newest(),
        "may_start": may(request.user, "operate"),
        "may_see": may(request.user, "see"),
        **more,
    }
    return render(request, "runs/list.html", context, status=status)


def _asked(runs: list[Run]) -> list[Run]:
    """The same runs, each knowing the gate that it waits at: one query for all."""
    waiting = [run.pk for run in runs if run.status == Status.WAITING]
    gates = Gate.objects.open().filter(run__in=waiting).by_time_left().only("run_id", "title", "due_at") if waiting else ()
    first = {gate.run_id: gate for gate in reversed(list(gates))}
    for run in runs:
        run.asked = first.get(run.pk)
    return runs


def _order_words(order: str) -> str:
    words = sorting.ORDERS[order].words
    least, most = ("oldest", "newest") if order.endswith(("started", "changed")) else ("least", "most")
    return f"{words}, {most if order.startswith('-') else least} first"


def _head(name: str, found: Wanted) -> dict[str, Any]:
    """A head of the table; where it can be sorted by, with where its link leads and how it is sorted now."""
    here = found.sort.removeprefix("-") == name
    falling = found.sort.startswith("-")
    return {
        "name": name,
        "label": columns.ALL[name],
        "number": name in columns.NUMBERS,
        "to": found.address(sort=name if here and falling else f"-{name}") if name in sorting.KEYS else "",
        "sorted": ("descending" if falling else "ascending") if here else "",
    }
