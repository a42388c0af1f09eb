"""Deciding several gates of one kind of action together: each listed before, each told of after, each by itself."""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from approvals import pane, rights
from approvals.models import Decision, Gate, GateKind, Verdict
from approvals.refusals import InvalidDecision, NotConfirmed, NotYours, Refused, TooLate
from approvals.services.deciding import decide
from approvals.services.taking_back import take_back
from approvals.views import UNUSABLE, back_to, here, signed_in, tab_of
from runs.views import whole_number

MOST = 100


@dataclass
class Item:
    """One gate of the batch; ``why_not``: it is listed, and not decided. ``left``: seconds in which it can be taken back."""

    gate: Gate
    why_not: str = ""
    decision: Decision | None = None
    refused: str = ""
    left: float = 0.0


@signed_in
def batch(request: HttpRequest) -> HttpResponseBase:
    """GET lists the ticked gates with all their arguments, or what became of each; POST decides those that are as listed."""
    items = _items(request)
    status, refused = 200, ""
    if request.method == "POST":
        try:
            _decide_each(request, items)
            return redirect(f"{reverse('batch')}?{_results(items, tab_of(request))}")
        except (InvalidDecision, NotConfirmed) as error:
            status, refused = 422, str(error)
    done = request.GET.get("done") is not None
    if done:
        _tell(items, request)
    context = {
        "items": items,
        "tab": tab_of(request),
        "here": here(request),
        "done": done,
        "open": [item for item in items if not item.why_not],
        "undoable": any(item.left for item in items),
        "wants_password": any(item.gate.wants_password for item in items) and not pane.is_confirmed(request),
        "wants_words": any("reject" in item.gate.policy.get("comment", ()) for item in items),
        "typed": request.POST,
        "refused": refused,
        "back": request.get_full_path(),
    }
    return render(request, "gates/batch.html", context, status=status)


@signed_in
def batch_undo(request: HttpRequest) -> HttpResponseBase:
    """Take all back that can be."""
    if request.method == "POST":
        for number in request.POST.getlist("decision")[:MOST]:
            decision = Decision.objects.filter(pk=whole_number(number) or 0, by=request.user.pk).first()
            if decision is not None:
                with suppress(TooLate, NotYours):
                    take_back(decision.gate_id, decision.pk, by=request.user)
    return redirect(back_to(request) or "gate-list")


def _results(items: list[Item], tab: str) -> str:
    """The address of what became of each: the gates, and why some were not decided."""
    refused = [("refused", f"{item.gate.pk} {item.refused[:300]}") for item in items if item.refused]
    return urlencode([("tab", tab), ("done", "1"), *(("gate", str(item.gate.pk)) for item in items), *refused])


def _tell(items: list[Item], request: HttpRequest) -> None:
    """What became of each: one's own decision, or why there is none."""
    reasons = dict(text.split(" ", 1) for text in request.GET.getlist("refused")[:MOST] if " " in text)
    for item in items:
        item.refused = reasons.get(str(item.gate.pk), "")
        item.decision = None if item.refused else item.gate.decisions.filter(by=request.user.pk).last()
        if item.decision is not None:
            item.why_not, item.left = "", pane.done(item.decision)["left"]


def _items(request: HttpRequest) -> list[Item]:
    """The ticked gates in the inbox's order. The first says which action; those of another are left out, with the reason."""
    given = request.POST if request.method == "POST" else request.GET
    ids = [found for text in given.getlist("gate")[:MOST] if (found := _uuid(text)) is not None]
    gates = Gate.objects.visible_to(request.user).filter(pk__in=ids).for_list().by_time_left()
    items = [Item(gate, _why_not(gate, request.user)) for gate in gates]
    kinds = [_kind(item.gate) for item in items if not item.why_not]
    for item in items:
        if not item.why_not and _kind(item.gate) != kinds[0]:
            item.why_not = "It asks for another kind of action; decide it by itself."
    return items


def _decide_each(request: HttpRequest, items: list[Item]) -> None:
    """Raises InvalidDecision where none could be decided so."""
    posted = request.POST
    verdict = posted.get("verdict", "")
    if verdict not in (Verdict.APPROVE, Verdict.REJECT):
        raise InvalidDecision({"verdict": "approve or reject was expected"})
    confirmed = pane.confirmed(request)
    wanted = [item for item in items if not item.why_not]
    for item in wanted:
        if item.gate.wants_password and not confirmed:
            raise NotConfirmed(item.gate, "Some of these gates are of high risk: give your password once more.")
    for item in wanted:
        try:
            item.decision = decide(
                item.gate.pk, by=request.user, verdict=verdict, comment=posted.get("comment", ""), channel="page",
                version=whole_number(posted.get(f"version-{item.gate.pk}", "")),
                proposal_hash=posted.get(f"hash-{item.gate.pk}"), confirmed=confirmed,
            )  # fmt: skip
        except (InvalidDecision, Refused, *UNUSABLE) as error:
            item.refused = str(error)


def _why_not(gate: Gate, user: Any) -> str:
    if not gate.is_open:
        return "It is closed already."
    if gate.kind != GateKind.APPROVAL:
        return "Whether something happened is looked up one by one."
    return rights.standing(gate, user).why_not


def _kind(gate: Gate) -> tuple[str, str, str]:
    return gate.run.workflow, gate.key, (gate.action or {}).get("name", "")


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
