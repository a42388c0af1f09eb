"""Policies: what each gate's is, what it was, setting it, and what another would have done."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from approvals import dry_run, policy_words
from approvals.models import Gate, GateKind, PolicyChange
from approvals.policy_form import PolicyForm, initial
from approvals.services import policies
from runs.access import NotPermitted, may
from workflows import registry
from workflows.steps import Gate as GateStep

ASKED = 500  # gates that were opened last, in which policies are looked for that only a running step knows


@dataclass(frozen=True)
class Listed:
    """A policy of a workflow: as its code has it, and as an admin has set it."""

    workflow: str
    name: str
    own: dict[str, Any]
    change: PolicyChange | None = None

    @property
    def policy(self) -> dict[str, Any]:
        return policies.effective(self.workflow, self.name, {**self.own, "name": self.name})

    @property
    def is_changed(self) -> bool:
        return self.change is not None and self.change.policy is not None

    def sentences(self) -> list[str]:
        return policy_words.sentences(self.policy)


@login_required
def policy_list(request: HttpRequest) -> HttpResponse:
    _check_sees(request)
    return render(request, "policies/list.html", {"policies": _all()})


@login_required
def policy_detail(request: HttpRequest, workflow: str, name: str) -> HttpResponse:
    """One policy: its words, its history, and the form that sets it or tries it on the gates of the past."""
    _check_sees(request)
    listed = next((one for one in _all() if (one.workflow, one.name) == (workflow, name)), None)
    if listed is None:
        raise Http404
    form, status, refused, tried = PolicyForm(initial=initial(listed.policy)), 200, "", None
    if request.method == "POST":
        form = PolicyForm(request.POST)
        try:
            if (tried := _act(request, listed, form)) is None:
                return redirect("policy-detail", workflow, name)
        except NotPermitted as error:
            status, refused = 403, str(error)
        except policies.PolicyInvalid as error:
            status, refused = 422, str(error).removeprefix("policy: ")
            if form.is_valid():
                form.explain(refused)
    context = {
        "listed": listed,
        "form": form,
        "history": PolicyChange.objects.filter(workflow=workflow, name=name).select_related("by").order_by("-id")[:100],
        "administers": may(request.user, "administer"),
        "tried": tried,
        "warnings": policies.doubts(listed.policy),
        "refused": refused,
    }
    return render(request, "policies/detail.html", context, status=status)


def _act(request: HttpRequest, listed: Listed, form: PolicyForm) -> dry_run.DryRun | None:
    """Try the policy, set it, or go back to the workflow's own. Raises PolicyInvalid, NotPermitted."""
    move, reason = request.POST.get("move", ""), request.POST.get("reason", "")
    if move == "own":
        policies.change(listed.workflow, listed.name, None, by=request.user, reason=reason)
        return None
    if move == "try":
        form.fields["reason"].required = False
    if not form.is_valid():
        text = {
            str(form[name].label) if name in form.fields else name: " ".join(map(str, errors))
            for name, errors in form.errors.items()
        }
        raise policies.PolicyInvalid(text)
    if move == "try":
        wanted = policies.parsed({**form.policy(), "name": listed.name}).as_json()
        return dry_run.of(listed.workflow, listed.name, wanted)
    policies.change(listed.workflow, listed.name, form.policy(), by=request.user, reason=reason)
    return None


def _all() -> list[Listed]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for workflow in registry.all_newest():
        for step in workflow.steps.values():
            if isinstance(step, GateStep):
                found[workflow.name, step.policy.name or step.name] = step.policy.as_json()
    asked = Gate.objects.filter(kind=GateKind.APPROVAL, merges=False).order_by("-opened_at")
    for name, key, policy in asked.values_list("run__workflow", "key", "policy")[:ASKED]:
        found.setdefault((name, policy.get("name") or key), policy)
    changes = {(one.workflow, one.name): one for one in PolicyChange.objects.order_by("id")}
    return [Listed(*place, own, changes.get(place)) for place, own in sorted(found.items())]


def _check_sees(request: HttpRequest) -> None:
    if not may(request.user, "see"):
        raise PermissionDenied("Policies are for whoever has a role here.")
