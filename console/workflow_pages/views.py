"""Workflows: how each does, what it is made of, starting and holding it."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from approvals.policy_views import Listed
from console.run_page import graph
from console.workflow_pages import health, schema_words
from engine.services import workflow_holds
from engine.services.starting import InputInvalid
from runs.access import NotPermitted, may
from runs.models import WorkflowHold
from workflows import Workflow, registry
from workflows.durations import words
from workflows.steps import Gate, Step

MOVES = {"hold": workflow_holds.hold, "release": workflow_holds.release}


@login_required
def workflow_list(request: HttpRequest) -> HttpResponse:
    return _list(request)


@login_required
def workflow_detail(request: HttpRequest, name: str) -> HttpResponse:
    """Its graph, its steps with how they do, its policies, the schema of its state."""
    try:
        workflow = registry.newest(name)
    except registry.WorkflowUnknown as error:
        raise Http404(str(error)) from None
    may_see = may(request.user, "see")
    found = health.of_steps(name) if may_see else {}
    context: dict[str, Any] = {
        "workflow": workflow,
        "versions": [one.version for one in registry.all_versions() if one.name == name],
        "held": WorkflowHold.objects.open().filter(workflow=name).first(),
        "health": health.of_all().get(name, health.Health()) if may_see else health.Health(),
        "days": health.DAYS,
        "drawing": graph.of_workflow(workflow),
        "steps": [(step, _health(step, found), _rules(step)) for step in workflow.reading_order()],
        "policies": _policies(workflow),
        "fields": schema_words.fields(workflow.state),
        "may_see": may_see,
        "may_operate": may(request.user, "operate"),
    }
    return render(request, "workflows/detail.html", context)


@login_required
def workflow_hold(request: HttpRequest, name: str) -> HttpResponse:
    """Hold the workflow, or release it; back to the page of ours from which it was asked."""
    if request.method != "POST":  # after signing in again; nothing was done
        return redirect("workflow-list")
    move = MOVES.get(request.POST.get("move", ""))
    if move is None:
        raise Http404
    try:
        move(name, by=request.user, reason=request.POST.get("reason", ""))
    except (workflow_holds.HoldRefused, InputInvalid) as error:
        return _list(request, refused=str(error), status=409)
    except NotPermitted as error:
        return _list(request, refused=str(error).rstrip("."), status=403)
    except registry.WorkflowUnknown as error:
        raise Http404(str(error)) from None
    back = request.POST.get("back", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else "workflow-list")


def _policies(workflow: Workflow[Any]) -> list[tuple[str, str, list[str]]]:
    """Of each gate of the definition the policy's name, and its words as it holds now."""
    found = []
    for gate in (step for step in workflow.steps.values() if isinstance(step, Gate)):
        name = gate.policy.name or gate.name
        found.append((gate.name, name, Listed(workflow.name, name, gate.policy.as_json()).sentences()))
    return found


def _health(step: Step, found: Mapping[str, health.StepHealth]) -> health.StepHealth:
    """A gate's time is people's, of which Insight tells."""
    return health.StepHealth() if isinstance(step, Gate) else found.get(step.name, health.StepHealth())


def _rules(step: Step) -> list[str]:
    """In words: a template would call the author's functions."""
    rules = [f"{step.retry.attempts} tries of {words(step.timeout)}"]
    if step.approved_by:
        rules.append(f"only with what {step.approved_by} approves")
    if step.is_effect:
        rules.append("looked up when in doubt" if step.verify else "people say when in doubt")
        rules.append("can be undone" if step.compensate else "cannot be undone")
    return rules


def _list(request: HttpRequest, *, refused: str = "", status: int = 200) -> HttpResponse:
    held = {row.workflow: row for row in WorkflowHold.objects.open()}
    found = health.of_all() if may(request.user, "see") else {}
    context: dict[str, Any] = {
        "workflows": [(one, held.get(one.name), found.get(one.name, health.Health())) for one in registry.all_newest()],
        "days": health.DAYS,
        "may_operate": may(request.user, "operate"),
        "refused": refused,
    }
    return render(request, "workflows/list.html", context, status=status)
