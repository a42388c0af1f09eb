"""The command palette: any run, gate, workflow, page and action, by a few letters."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from approvals.models import Gate
from console.listing.system_views import SYSTEM
from console.models import SavedView
from runs import filters
from runs.access import may
from runs.models import Run, WorkflowHold
from workflows import registry

MOST = 5  # of each kind
TYPED = 200  # characters

PAGES = (
    ("Overview", "home", ""),
    ("Runs", "run-list", ""),
    ("Inbox", "gate-list", ""),
    ("Workflows", "workflow-list", ""),
    ("Workers", "worker-list", "see"),
    ("Audit", "audit-list", ""),
    ("Insight", "insight", "see"),
    ("Profile: theme and time zone", "profile-detail", ""),
    ("How you are reached", "preference-detail", ""),
    ("Out of office", "absence-list", ""),
    ("Tokens", "token-list", ""),
    ("Policies", "policy-list", "see"),
    ("Retention", "retention-list", "see"),
    ("People", "person-list", "administer"),
    ("Channels", "channel-list", "administer"),
)


@dataclass(frozen=True)
class Command:
    """``kind``: run, gate, workflow, action, view or page."""

    kind: str
    label: str
    address: str
    hint: str = ""
    status: str = ""


@login_required
def command_list(request: HttpRequest) -> HttpResponse:
    typed = request.GET.get("q", "")[:TYPED].replace("\0", "").strip()
    found = chain.from_iterable(kind(request.user, typed) for kind in (_actions, _places, _runs, _gates))
    return render(request, "_commands.html", {"commands": [*found], "typed": typed})


def _runs(user: Any, typed: str) -> Iterator[Command]:
    if len(typed) < 2:
        return
    rows = Run.objects.visible_to(user).filter(filters.matching(typed)).order_by("-created_at")
    for run in rows.only("id", "workflow", "status", "step")[:MOST]:
        yield Command("run", f"{run.workflow} …{run.short_id}", reverse("run-detail", args=[run.pk]), run.step, run.status)


def _gates(user: Any, typed: str) -> Iterator[Command]:
    if len(typed) < 2:
        return
    about = Q(title__icontains=typed) | Q(run__workflow__icontains=typed) | Q(step__icontains=typed)
    if (whole := _uuid(typed)) is not None:
        about |= Q(pk=whole)
    rows = Gate.objects.visible_to(user).open().filter(about).select_related("run").by_time_left()
    for gate in rows[:MOST]:
        yield Command(
            "gate", gate.title, reverse("gate-detail", args=[gate.pk]), f"{gate.run.workflow} › {gate.step}", "waiting"
        )


def _actions(user: Any, typed: str) -> Iterator[Command]:
    held = set(WorkflowHold.objects.open().values_list("workflow", flat=True))
    operates = may(user, "operate")
    found = []
    for workflow in registry.all_newest():
        name, page = workflow.name, reverse("workflow-detail", args=[workflow.name])
        found.append(Command("workflow", name, page, "workflow"))
        if operates:
            found.append(Command("action", f"Start a run of {name}", reverse("run-create", args=[name])))
            found.append(Command("action", f"{'Release' if name in held else 'Hold'} {name}", f"{page}#hold", "asks first"))
    yield from _matching(found, typed)[:MOST] if typed else ()


def _places(user: Any, typed: str) -> Iterator[Command]:
    runs = reverse("run-list")
    views = [Command("view", f"Runs: {view.name}", f"{runs}?view={view.key}") for view in SYSTEM.values()]
    views += [
        Command("view", f"Runs: {view.name}", f"{runs}?view={view.pk}")
        for view in SavedView.objects.visible_to(user).for_list()
    ]
    pages = [Command("page", label, reverse(name)) for label, name, wanted in PAGES if not wanted or may(user, wanted)]
    yield from _matching([*pages, *views], typed)[: MOST if typed else None]


def _matching(found: list[Command], typed: str) -> list[Command]:
    """Those that hold every word that was typed."""
    words = typed.casefold().split()
    return [one for one in found if all(word in one.label.casefold() for word in words)]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
