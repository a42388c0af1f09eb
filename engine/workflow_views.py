"""The page of workflows: what there is, what it has cost, and holding it."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from engine.services import workflow_holds
from engine.services.starting import InputInvalid
from runs import stats
from runs.access import NotPermitted, may
from runs.models import WorkflowHold
from workflows import registry

MOVES = {"hold": workflow_holds.hold, "release": workflow_holds.release}


@login_required
def workflow_list(request: HttpRequest) -> HttpResponse:
    return _page(request)


@login_required
def workflow_hold(request: HttpRequest, name: str) -> HttpResponse:
    """Hold the workflow, or release it."""
    if request.method != "POST":  # after signing in again; nothing was done
        return redirect("workflow-list")
    move = MOVES.get(request.POST.get("move", ""))
    if move is None:
        raise Http404
    try:
        move(name, by=request.user, reason=request.POST.get("reason", ""))
    except (workflow_holds.HoldRefused, InputInvalid) as error:
        return _page(request, refused=str(error), status=409)
    except NotPermitted as error:
        return _page(request, refused=str(error).rstrip("."), status=403)
    except registry.WorkflowUnknown as error:
        raise Http404(str(error)) from None
    return redirect("workflow-list")


def _page(request: HttpRequest, *, refused: str = "", status: int = 200) -> HttpResponse:
    held = {row.workflow: row for row in WorkflowHold.objects.open()}
    totals = stats.totals_by_workflow() if may(request.user, "see") else {}
    context: dict[str, Any] = {
        "workflows": [(one, held.get(one.name), totals.get(one.name, stats.NOTHING)) for one in registry.all_newest()],
        "may_operate": may(request.user, "operate"),
        "refused": refused,
    }
    return render(request, "workflows/list.html", context, status=status)
