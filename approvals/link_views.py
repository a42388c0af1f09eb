"""The pages behind a link that somebody was sent. Looking decides nothing; only a POST of the page that asks once more does."""

from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from approvals import confirming, pane, rights, showing
from approvals.consequences import consequences, outside
from approvals.models import Decision, Gate, Link
from approvals.refusals import InvalidDecision, NotConfirmed, NotYours, Refused, TooLate
from approvals.services import links
from approvals.services.deciding import closed_in_words, decide
from approvals.services.taking_back import take_back
from approvals.services.tallying import tally
from approvals.views import UNUSABLE, looked_for, seen_by
from runs import doors, limiting
from runs.clock import database_now
from runs.views import whole_number

NOTHING = "Nothing was decided."


@dataclass(frozen=True)
class Opened:
    """A link, as whoever has it may use it."""

    link: Link
    gate: Gate
    token: str
    person: Any  # who acts: its addressee, signed in or, where the policy says so, by having the link
    bearer: bool
    made: Decision | None = None  # by this link, a moment ago


def link_detail(request: HttpRequest, token: str) -> HttpResponseBase:
    """The gate, or with ``?verdict=`` the page that asks once more. Of a closed gate: who closed it, how and when."""
    opened = _opened(request, token, made=request.GET.get("done", ""))
    if not isinstance(opened, Opened):
        return opened
    verdict = request.GET.get("verdict", "")
    return _page(request, opened, verdict=verdict if verdict in links.TAPPED and verdict in opened.gate.verdicts else "")


def link_decision_create(request: HttpRequest, token: str) -> HttpResponseBase:
    """The decision. Whoever comes here by a GET sees the gate."""
    if request.method != "POST":
        return redirect("link-detail", token)
    opened = _answering(request, token)
    if not isinstance(opened, Opened):
        return opened
    posted, verdict = request.POST, request.POST.get("verdict", "")
    if verdict not in links.TAPPED:
        return _page(request, opened, status=422, refused="Approve or reject was expected.")
    try:
        decision = decide(
            opened.gate.pk,
            by=opened.person,
            verdict=verdict,
            comment=posted.get("comment", ""),
            version=whole_number(posted.get("version", "")),
            proposal_hash=posted.get("proposal_hash"),
            channel=doors.BEARER if opened.bearer else doors.LINK,
            confirmed=_confirmed(request, opened),
            looked_for_s=looked_for(request),
        )
    except (InvalidDecision, NotConfirmed) as error:
        return _page(request, opened, verdict=verdict, status=422, refused=str(error))
    except NotYours as error:
        return _page(request, opened, status=403, refused=str(error))
    except UNUSABLE as error:
        return _page(request, opened, status=409, refused=str(error))
    except Refused as error:
        current = Gate.objects.for_list().get(pk=opened.gate.pk)
        if not current.is_open:
            return _closed(request, current, late=True)
        return _page(request, replace(opened, gate=current), status=409, refused=str(error))
    return redirect(f"{reverse('link-detail', args=[token])}?done={links.made_by(decision)}")


def link_undo(request: HttpRequest, token: str) -> HttpResponseBase:
    """Take the decision back that was made by this link, for as long as nothing has followed."""
    if request.method != "POST":
        return redirect("link-detail", token)
    opened = _answering(request, token, made=request.POST.get("made", ""))
    if not isinstance(opened, Opened):
        return opened
    if opened.made is None:
        return _page(request, opened, status=409, refused="There is nothing to take back.", so="")
    try:
        take_back(opened.gate.pk, opened.made.pk, by=opened.person)
    except (TooLate, NotYours) as error:
        return _page(request, opened, status=409, refused=str(error), so="Your decision stands.")
    return redirect("link-detail", token)


def _answering(request: HttpRequest, token: str, *, made: str = "") -> Opened | HttpResponseBase:
    """As ``_opened``, for whoever acts: so many times a minute, and nobody else's tries count."""
    opened = _opened(request, token, made=made)
    if isinstance(opened, Opened):
        who = doors.address_of(request) if opened.bearer else str(opened.person.pk)
        if not limiting.allows(limiting.ANSWERS, token, who):
            return _told(request, 429, "Too many answers", "Wait for a minute, then try again. Nothing was decided.")
    return opened


def _opened(request: HttpRequest, token: str, *, made: str = "") -> Opened | HttpResponseBase:
    """The link, or the answer to whoever cannot use it. ``made`` proves the decision that it was used for a moment ago."""
    if not limiting.allows(limiting.LINKS, token, doors.address_of(request)):
        return _told(request, 429, "Opened too often", "Wait for a minute, then open the link again.")
    try:
        link = links.found_by(token)
    except links.LinkUnknown:
        return _told(
            request, 404, "No such link", "It is none of ours, or was altered on its way. Open the gate in your inbox."
        )
    gate = Gate.objects.for_list().get(pk=link.gate_id)
    if link.revoked_at is not None or not link.user.is_active:
        return _told(request, 410, "This link was revoked", "It opens nothing any more. Open the gate in your inbox.")
    bearer = gate.policy.get("links") == "bearer" and not gate.wants_password
    decision = links.read_made(made, link)
    if not gate.is_open and (decision is None or not _is_addressee(request, link, bearer)):
        return _closed(request, gate, late=request.method == "POST")
    if link.expires_at <= database_now():
        return _told(
            request, 410, "This link has expired", "The gate is still open: sign in and decide it in your inbox.", gate
        )
    if bearer and (decision is not None or rights.standing(gate, link.user).right is not None):
        doors.came(link.user, doors.BEARER, doors.address_of(request))
        return Opened(link, gate, token, link.user, bearer=True, made=decision)
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path() if request.method == "GET" else reverse("link-detail", args=[token]))
    if request.user.pk != link.user_id:
        text = f"It was sent to {link.user.get_username()}, and works for nobody else. You are {request.user.get_username()}."
        return _told(request, 403, "This link is somebody else’s", text, gate)
    if not seen_by(request.user, gate.pk).exists():
        return _told(request, 403, "Not for you any more", "You may not see this gate any more. Nothing was decided.")
    doors.came(request.user, doors.LINK, doors.address_of(request))
    return Opened(link, gate, token, request.user, bearer=False, made=decision)


def _is_addressee(request: HttpRequest, link: Link, bearer: bool) -> bool:
    return bearer or (request.user.is_authenticated and request.user.pk == link.user_id)


def _confirmed(request: HttpRequest, opened: Opened) -> bool:
    return not opened.bearer and (
        confirming.confirmed(opened.person, request.POST.get("password")) or pane.is_confirmed(request)
    )


def _page(
    request: HttpRequest, opened: Opened, *, verdict: str = "", status: int = 200, refused: str = "", so: str = NOTHING
) -> HttpResponse:  # fmt: skip
    """``so``: what the refusal leaves."""
    gate = opened.gate
    standing = rights.standing(gate, opened.person)
    follows = consequences(gate)
    context = {
        "gate": gate,
        "run": gate.run,
        "link": opened.link,
        "token": opened.token,
        "bearer": opened.bearer,
        "done": None if opened.made is None else pane.done(opened.made),
        "made": "" if opened.made is None else links.made_by(opened.made),
        "verdict": verdict,
        "follows": follows.get(verdict, ""),
        "choices": [(one, follows.get(one, "")) for one in links.TAPPED if one in gate.verdicts],
        "timeout": follows.get("timeout", ""),
        "why_not": "" if standing.right else standing.why_not,
        "facts": showing.facts(gate),
        "outside": outside(gate),
        "votes": tally(gate),
        "wants_words": verdict in gate.policy.get("comment", ()),
        "wants_password": gate.wants_password and not pane.is_confirmed(request),
        "refused": f"{refused.rstrip('.')}. {so}".strip() if refused else "",
        "typed": request.POST,
        "acts_for": standing.right.holder if standing.right and standing.right.holder.pk != opened.person.pk else None,
    }
    return _private(render(request, "links/detail.html", context, status=status))


def _closed(request: HttpRequest, gate: Gate, *, late: bool = False) -> HttpResponse:
    """Who closed it, how and when: nothing of what was asked, for whoever has the link may not be its addressee.

    ``late``: they have just sent an answer of their own, which is told back to them.
    """
    last = gate.decisions.standing().last()
    context = {
        "gate": gate,
        "closed": closed_in_words(gate),
        "expired": last is not None and last.by_id is None,
        "late": late,
        "typed": request.POST.get("comment", "") if late else "",
    }
    return _private(render(request, "links/closed.html", context, status=409 if late else 200))


def _told(request: HttpRequest, status: int, title: str, text: str, gate: Gate | None = None) -> HttpResponse:
    return _private(render(request, "links/told.html", {"title": title, "text": text, "gate": gate}, status=status))


def _private(response: HttpResponse) -> HttpResponse:
    response.headers["Cache-Control"] = "no-store"
    return response
