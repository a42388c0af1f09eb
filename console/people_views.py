"""Admins' pages: accounts and groups, and how long histories are kept."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from approvals import page_news
from approvals.explained_form import ExplainedForm
from console.services import people
from runs.access import ROLES, may
from runs.models import Run
from runs.moves import FINAL
from workflows import Workflow, registry


class PersonForm(ExplainedForm):
    username = forms.CharField(max_length=150, label="Name")
    email = forms.CharField(max_length=254, required=False, label="E-mail")
    groups = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple, label="Roles and groups")
    is_active = forms.BooleanField(required=False, initial=True, label="May sign in")

    def __init__(self, *args: Any, user: User | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        others = Group.objects.exclude(name__in=ROLES).order_by("name").values_list("name", flat=True)
        self.fields["groups"].choices = [(name, name) for name in (*ROLES, *others)]  # type: ignore[attr-defined]
        del self.fields["is_active" if user is None else "username"]


@login_required
def person_list(request: HttpRequest) -> HttpResponse:
    """Everybody, and a form for one more."""
    _check_administers(request)
    form, status = PersonForm(), 200
    if request.method == "POST":
        form, status = PersonForm(request.POST), 422
        try:
            if form.is_valid():
                user, password = people.add(by=request.user, **form.cleaned_data)
                page_news.put(request, secret={"who": user.get_username(), "password": password})
                return redirect("person-list")
        except people.PersonInvalid as error:
            form.explain(error)
    users = User.objects.prefetch_related("groups").annotate(tokens=Count("api_tokens", distinct=True)).order_by("username")
    members = Group.objects.annotate(count=Count("user", filter=Q(user__is_active=True))).order_by("name")
    context = {"form": form, "users": users, "groups": members, "all_roles": ROLES, **page_news.take(request)}
    return render(request, "settings/people.html", context, status=status)


@login_required
def person_detail(request: HttpRequest, user_id: int) -> HttpResponse:
    _check_administers(request)
    user = get_object_or_404(User, pk=user_id)
    initial = {"email": user.email, "is_active": user.is_active, "groups": [group.name for group in user.groups.all()]}
    form, status = PersonForm(initial=initial, user=user), 200
    if request.method == "POST":
        form, status = PersonForm(request.POST, user=user), 422
        try:
            if form.is_valid():
                people.change(user.pk, by=request.user, **form.cleaned_data)
                messages.success(request, f"Saved: {user}.")
                return redirect("person-list")
        except people.PersonInvalid as error:
            form.explain(error)
    return render(request, "settings/person.html", {"person": user, "form": form}, status=status)


@login_required
def password_create(request: HttpRequest, user_id: int) -> HttpResponse:
    """Give somebody another password."""
    _check_administers(request)
    get_object_or_404(User, pk=user_id)
    if request.method == "POST":
        user, password = people.new_password(user_id, by=request.user)
        page_news.put(request, secret={"who": user.get_username(), "password": password})
    return redirect("person-list")


@login_required
def group_create(request: HttpRequest) -> HttpResponse:
    _check_administers(request)
    if request.method == "POST":
        try:
            group = people.add_group(request.POST.get("name", ""), by=request.user)
            messages.success(request, f"Added: the group {group}.")
        except people.PersonInvalid as error:
            messages.error(request, str(error))
    return redirect("person-list")


@dataclass(frozen=True)
class Kept:
    """A workflow's retention, and what of its histories is pruned by now."""

    workflow: Workflow[Any]
    ended: int
    pruned: int


@login_required
def retention_list(request: HttpRequest) -> HttpResponse:
    """How long which histories are kept; the workflow's code says so."""
    if not may(request.user, "see"):
        raise Http404
    rows = Run.objects.filter(status__in=FINAL).values("workflow")
    found = rows.annotate(ended=Count("pk"), pruned=Count("pk", filter=Q(pruned_at__isnull=False)))
    counts = {row["workflow"]: (row["ended"], row["pruned"]) for row in found}
    kept = [Kept(workflow, *counts.get(workflow.name, (0, 0))) for workflow in registry.all_newest()]
    return render(request, "settings/retention.html", {"kept": kept})


def _check_administers(request: HttpRequest) -> None:
    if not may(request.user, "administer"):
        raise PermissionDenied("Accounts and groups are for admins.")
