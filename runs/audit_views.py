"""The page of the audit."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from pydantic import ValidationError

from runs import auditing, doors
from runs.access import may
from runs.audit_api import exported
from runs.filters import FilterInvalid
from runs.models import Act, AuditEntry
from runs.views import whole_number

EXPECTED = {
    "run": "the id of a run was expected",
    "gate": "the id of a gate was expected",
    "since": "a date and a time were expected",
    "until": "a date and a time were expected",
    "act": "one of the list was expected",
}


@login_required
def audit_list(request: HttpRequest) -> HttpResponseBase:
    """Who did what. Admins read all of it, others what they did themselves."""
    given = {name: value for name in auditing.AuditQuery.model_fields if (value := request.GET.get(name, "").strip())}
    refused, status = "", 200
    try:
        wanted = auditing.AuditQuery(**_with_zone(given))
        entries = auditing.narrow(AuditEntry.objects.visible_to(request.user), wanted)
    except (ValidationError, FilterInvalid) as error:
        refused, status, wanted = _words(error), 422, auditing.AuditQuery()
        entries = AuditEntry.objects.none()
    form = request.POST.get("format", "")
    if form in auditing.FORMATS and not refused:
        return exported(request, wanted, form)
    items, before = auditing.page(entries, before=whole_number(request.GET.get("before", "")))
    context = {
        "entries": [(entry, facts := entry.facts(), auditing.in_words(entry, facts)) for entry in items],
        "wanted": given,
        "here": urlencode(given),
        "before": before,
        "newer": "before" in request.GET,
        "actors": User.objects.order_by("username").values_list("username", flat=True)[:500],
        "acts": [(act.value, act.label.lower()) for act in Act],
        "channels": doors.CHANNELS,
        "administers": may(request.user, "administer"),
        "refused": refused,
    }
    return render(request, "audit/list.html", context, status=status)


def _with_zone(given: dict[str, str]) -> dict[str, Any]:
    """The page's times are in UTC, as a browser's field gives them: without a zone."""
    return {name: f"{value}Z" if name in ("since", "until") and len(value) == 16 else value for name, value in given.items()}


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {EXPECTED.get(str(one['loc'][0]), one['msg'])}" for one in error.errors()
        )
    return str(error)
