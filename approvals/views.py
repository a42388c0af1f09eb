"""The inbox, one gate, and deciding it on a page."""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from approvals import inbox, pane, presence
from approvals.consequences import then
from approvals.edit_form import EditForm
from approvals.models import Decision, Gate, GateQuerySet, Verdict
from approvals.refusals import InvalidDecision, NotConfirmed, NotYours, Refused, TooLate
from approvals.services.deciding import bypass, decide
from approvals.services.taking_back import take_back
from checkpoints import store
from runs.access import NotPermitted
from runs.clock import database_now
from runs.notices import into_notices
from runs.views import whole_number
from workflows import registry
from workflows.errors import StateUnreadable, StepGone

BANNER = timedelta(minutes=2)  # for which a page tells of the decision before
LOOKED = 30 * 86_400.0  # seconds at most that somebody can have looked
SHOWN = 5  # of one's decisions, the latest
UNUSABLE = (StepGone, registry.WorkflowUnknown, store.HistoryBroken, StateUnreadable)
View = Callable[..., HttpResponseBase]


def signed_in(view: View) -> View:
    """As ``login_required``; but a part of a page is answered with 401, so that what was typed in the page stays."""
    whole = login_required(view)

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        if request.user.is_authenticated or not request.htmx:  # type: ignore[attr-defined]
            return whole(request, *args, **options)
        return into_notices(render(request, "gates/_signed_out.html", status=401))

    return checked


def sent(view: View) -> View:
    """What is sent by a form of a gate's page; whoever comes by a link, after signing in again say, sees the gate."""

    @wraps(view)
    def checked(request: HttpRequest, gate_id: uuid.UUID, *args: Any, **options: Any) -> HttpResponseBase:
        if request.method != "POST":
            return redirect("gate-detail", gate_id=gate_id)
        return view(request, gate_id, *args, **options)

    return signed_in(checked)


@login_required
def gate_list(request: HttpRequest) -> HttpResponse:
    """The inbox. Where there is room the first gate is open beside the list."""
    tab = tab_of(request)
    if _wants(request, "gates"):
        return render(request, "gates/list.html#gates", _list(request, tab))
    context = _list(request, tab)
    first = context["gates"][0] if context["gates"] and tab != "history" else None
    shown = None if first is None else pane.shown(request.user, first)
    return _inbox(request, {**context, "pane": shown, "chosen": False})


@signed_in
def gate_detail(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    return page(request, visible(request, gate_id))


@sent
def decision_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    """Decide. A lost race shows the gate as it now is, with 409; what was typed stays."""
    gate = visible(request, gate_id)
    verdict, args, posted = request.POST.get("verdict", ""), None, request.POST
    form = pane.form_of(gate, posted if verdict in (Verdict.EDIT, Verdict.HAPPENED) else None)
    if verdict in (Verdict.EDIT, Verdict.HAPPENED):
        if form is not None and not form.is_valid():
            return page(request, gate, form=form, status=422, typed=posted)
        args = {} if form is None else pane.filled_in(form)
        edited = pane.Edited(gate, form) if isinstance(form, EditForm) else None
        if edited is not None and posted.get("previewed", edited.mark) != edited.mark:
            text = "It was changed after the difference was shown. This is what it changes now"
            return page(request, gate, form=form, status=422, refused=text, typed=posted, edited=edited)

    def act() -> Decision:
        return decide(
            gate_id,
            by=request.user,
            verdict=verdict,
            args=args,
            comment=posted.get("comment", ""),
            version=whole_number(posted.get("version", "")),
            proposal_hash=posted.get("proposal_hash"),
            channel="page",
            confirmed=pane.confirmed(request),
            looked_for_s=looked_for(request),
        )

    return _done_or_refused(request, gate, act, form=form)


@sent
def bypass_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponseBase:
    gate, posted = visible(request, gate_id), request.POST

    def act() -> Decision:
        return bypass(
            gate_id,
            by=request.user,
            verdict=posted.get("verdict", ""),
            reason=posted.get("comment", ""),
            version=whole_number(posted.get("version", "")),
            proposal_hash=posted.get("proposal_hash"),
            channel="page",
            confirmed=pane.confirmed(request),
        )

    return _done_or_refused(request, gate, act)


@sent
def decision_undo(request: HttpRequest, gate_id: uuid.UUID, decision_id: int) -> HttpResponseBase:
    gate = visible(request, gate_id)
    get_object_or_404(Decision, pk=decision_id, gate=gate)
    try:
        take_back(gate_id, decision_id, by=request.user)
    except (NotYours, TooLate) as error:
        return page(request, visible(request, gate_id), status=409, refused=str(error))
    return redirect(back_to(request) or address(request, gate_id))


@signed_in
def edit_preview(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    """What an edit would change, before it is sent; nothing is written. Without scripts: a page with the button to send it."""
    gate = visible(request, gate_id)
    form = pane.form_of(gate, request.POST)
    edited = pane.Edited(gate, form) if isinstance(form, EditForm) and request.method == "POST" else None
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "gates/_edited.html", {"gate": gate, "edited": edited})
    return page(request, gate, form=form, status=200 if edited and edited.is_valid else 422, typed=request.POST, edited=edited)


def _done_or_refused(request: HttpRequest, gate: Gate, act: Callable[[], Decision], form: Any = None) -> HttpResponseBase:
    try:
        decision = act()
    except InvalidDecision as error:
        return page(request, gate, form=form, status=422, refused=str(error), typed=request.POST)
    except UNUSABLE as error:
        return page(request, gate, form=form, status=409, refused=str(error), typed=request.POST)
    except (NotYours, NotConfirmed, NotPermitted) as error:
        return page(request, gate, form=form, status=403, refused=str(error), typed=request.POST)
    except Refused as error:
        if (repeated := _repeated(request, gate)) is None:
            return page(request, visible(request, gate.pk), status=409, refused=str(error), typed=request.POST)
        decision = repeated
    following = inbox.following(request.user, gate, tab_of(request), request.GET.get("q", ""))
    return redirect(address(request, None if following is None else following.pk, done=decision.pk))


def _repeated(request: HttpRequest, gate: Gate) -> Decision | None:
    """One's own decision that was sent twice, by a double click say: it was taken, and that is what is told."""
    lately = gate.decisions.standing().filter(by=request.user.pk, at__gte=database_now() - BANNER)
    version = whole_number(request.POST.get("version", "")) or 0
    return lately.filter(verdict=request.POST.get("verdict", ""), version=version).last()


def address(request: HttpRequest, gate_id: uuid.UUID | None, **more: Any) -> str:
    """Of the gate, or the inbox, with the tab and the search that the request came from."""
    where = reverse("gate-list") if gate_id is None else reverse("gate-detail", args=[gate_id])
    return f"{where}?{here(request, **more)}"


def here(request: HttpRequest, **more: Any) -> str:
    q = request.GET.get("q", "")
    return urlencode({"tab": tab_of(request), **({"q": q} if q else {}), **more})


def looked_for(request: HttpRequest) -> float | None:
    """Seconds since the page was shown that the form was sent from; None where it does not say, or cannot mean it."""
    try:
        seconds = time.time() - float(request.POST.get("shown_at", ""))
    except ValueError:
        return None
    return max(0.0, seconds) if -1 < seconds < LOOKED else None


def visible(request: HttpRequest, gate_id: uuid.UUID) -> Gate:
    """Also a gate that one has just decided in somebody's place, and could not see otherwise any more."""
    return get_object_or_404(seen_by(request.user, gate_id).for_list())


def seen_by(user: Any, gate_id: uuid.UUID) -> GateQuerySet:
    """The gate, where the user may see it, or has decided there."""
    gates = Gate.objects.visible_to(user) | Gate.objects.filter(decisions__by=user.pk)
    return gates.filter(pk=gate_id).distinct()


def tab_of(request: HttpRequest) -> str:
    tab = request.GET.get("tab") or request.POST.get("tab") or "mine"
    return tab if tab in inbox.TABS else "mine"


def page(request: HttpRequest, gate: Gate, *, status: int = 200, **more: Any) -> HttpResponse:
    context = {"pane": pane.shown(request.user, gate, confirmed=pane.is_confirmed(request), **more), "chosen": True}
    if not _wants(request, "gate-pane"):
        context |= _list(request, tab_of(request))
    return _inbox(request, context, status)


def _inbox(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """The whole inbox, or only its pane where a script asks for that."""
    part = "#pane" if _wants(request, "gate-pane") else ""
    context |= {"tab": tab_of(request), "here": here(request), "done": _done(request)}
    response = render(request, f"gates/list.html{part}", context, status=status)
    if request.method != "GET":  # what was sent is answered in place
        response.headers["HX-Push-Url"] = "false"
    return response


def _wants(request: HttpRequest, part: str) -> bool:
    """Whether a script asks for that part of the page."""
    return bool(request.htmx) and (request.htmx.target or "").endswith(f"#{part}")  # type: ignore[attr-defined]


def _list(request: HttpRequest, tab: str) -> dict[str, Any]:
    q = request.GET.get("q", "")
    after = whole_number(request.GET.get("after", "")) or 0
    found = inbox.gates(request.user, tab, q).for_list()
    gates = list(found[after : after + inbox.PAGE + 1])
    seen = presence.looking([gate.pk for gate in gates if gate.is_open], but=request.user.get_username())
    rows = [{"gate": gate, "then": then(gate), "looking": seen.get(gate.pk, [])} for gate in gates[: inbox.PAGE]]
    more = after + inbox.PAGE if len(gates) > inbox.PAGE else None
    tabs = inbox.tabs(request.user)
    return {
        "gates": gates[: inbox.PAGE],
        "rows": rows,
        "tab": tab,
        "tabs": tabs,
        "inbox_count": tabs[0].count_words,  # which the frame would ask for once more
        "q": q,
        "offset": after,
        "after": more,
        "now": database_now(),
        "here": here(request),
    }


def _done(request: HttpRequest) -> list[dict[str, Any]]:
    """The decision that led to this page, for a moment, and others of one's own that can still be taken back."""
    number = whole_number(request.GET.get("done", ""))
    if number is None:
        return []
    lately = Decision.objects.filter(by=request.user.pk, at__gte=database_now() - BANNER).select_related(
        "gate__run", "gate__branch"
    )
    found = [pane.done(one) for one in lately.order_by("-id")[:SHOWN]]
    return [one for one in found if one["decision"].pk == number or one["left"]]


def back_to(request: HttpRequest) -> str:
    """Where a decision was taken back from, if that was a page of several."""
    back = request.POST.get("back", "")
    return back if back.startswith(reverse("batch")) and url_has_allowed_host_and_scheme(back, None) else ""
