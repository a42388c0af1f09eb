"""What people do at a gate beside deciding it, on its page. Each answers with the gate as it then is."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from approvals import inbox
from approvals.models import Absence
from approvals.refusals import InvalidDecision, NotYours, Refused
from approvals.services import absences, people
from approvals.views import address, page, sent, tab_of, visible
from runs.access import may
from runs.clock import database_now
from runs.views import whole_number


@sent
def claim_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    take_over = "take_over" in request.POST
    return _acted(request, gate_id, lambda: people.claim(gate_id, by=request.user, take_over=take_over))


@sent
def claim_delete(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    return _acted(request, gate_id, lambda: people.unclaim(gate_id, by=request.user))


@sent
def delegation_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    return _acted(request, gate_id, lambda: people.delegate(gate_id, by=request.user, **_given(request, "to")), goes_on=True)


@sent
def delegation_delete(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    return _acted(request, gate_id, lambda: people.take_back_delegation(gate_id, by=request.user))


@sent
def snooze_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    minutes = whole_number(request.POST.get("minutes", "")) or 0
    until = database_now() + timedelta(minutes=min(minutes, 525_600))
    return _acted(
        request, gate_id, lambda: people.snooze(gate_id, by=request.user, until=until, **_given(request)), goes_on=True
    )


@sent
def snooze_delete(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    return _acted(request, gate_id, lambda: people.wake(gate_id, by=request.user))


@sent
def comment_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    return _acted(request, gate_id, lambda: people.comment(gate_id, by=request.user, text=request.POST.get("text", "")))


def _given(request: HttpRequest, *names: str) -> dict[str, str]:
    return {name: request.POST.get(name, "") for name in (*names, "reason")}


def _acted(
    request: HttpRequest, gate_id: uuid.UUID, act: Callable[[], object], *, goes_on: bool = False
) -> HttpResponseBase:  # fmt: skip
    """``goes_on``: the gate is out of one's sight then, and the next one opens."""
    gate = visible(request, gate_id)
    try:
        act()
    except InvalidDecision as error:
        return page(request, gate, status=422, refused=str(error), typed=request.POST)
    except Refused as error:
        status = 403 if isinstance(error, NotYours) else 409
        return page(request, visible(request, gate_id), status=status, refused=str(error), typed=request.POST)
    following = inbox.following(request.user, gate, tab_of(request), request.GET.get("q", "")) if goes_on else gate
    return redirect(address(request, None if following is None else following.pk))


@login_required
def absence_list(request: HttpRequest) -> HttpResponse:
    """Being out of office: one's own absences, and to admins everybody's."""
    status, refused = 200, ""
    if request.method == "POST":
        try:
            _announce(request)
            return redirect("absence-list")
        except InvalidDecision as error:
            status, refused = 422, str(error)
    every = Absence.objects.not_over().select_related("user")
    context = {
        "absences": Absence.objects.shown_to(request.user),
        "people": User.objects.filter(is_active=True).order_by("username"),
        "administers": may(request.user, "administer"),
        "typed": request.POST,
        "refused": refused,
        "deputises": every.filter(deputy=request.user.pk).order_by("starts", "id"),
    }
    return render(request, "gates/absences.html", context, status=status)


def _announce(request: HttpRequest) -> None:
    """Raises InvalidDecision. Times are those of the browser's form, in UTC."""
    posted: Any = request.POST
    times = {}
    for name in ("starts", "ends"):
        try:
            times[name] = parse_datetime(f"{posted.get(name, '')}+00:00")
        except ValueError:
            times[name] = None
        if times[name] is None:
            raise InvalidDecision({name: "a date and a time were expected"})
    username = posted.get("user", "").replace("\0", "")
    user = User.objects.filter(username=username).first() if may(request.user, "administer") else None
    absences.announce(by=request.user, user=user, deputy=posted.get("deputy", ""), **times)  # type: ignore[arg-type]


@login_required
@require_POST
def absence_delete(request: HttpRequest, absence_id: int) -> HttpResponse:
    absences.end(get_object_or_404(Absence.objects.shown_to(request.user), pk=absence_id), by=request.user)
    return redirect("absence-list")
