"""Deciding several gates of one kind of action together: each listed before, each told of after, each by itself."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from approvals import pane, rights
from approvals.models import Decision, Gate, GateKind, Verdict
from approvals.refusals import InvalidDecision, Refused
from approvals.services.deciding import decide
from approvals.views import UNUSABLE, signed_in, tab_of
from runs.views import whole_number

MOST = 100


@dataclass
class Item:
    """One gate of the batch; ``why_not``: it is listed, and not decided."""

    gate: Gate
    why_not: str = ""
    decision: Decision | None = None
    refused: str = ""


@signed_in
def batch(request: HttpRequest) -> HttpResponse:
    """GET lists the ticked gates with all their arguments; POST decides those that are as they were listed."""
    items = _items(request)
    status, refused = 200, ""
    if request.method == "POST":
        try:
            _decide_each(request, items)
        except InvalidDecision as error:
            status, refused = 422, str(error)
    context = {
        "items": items,
        "tab": tab_of(request),
        "done": request.method == "POST" and not refused,
        "open": [item for item in items if not item.why_not],
        "wants_password": any(item.gate.wants_password for item in items),
        "wants_words": any("reject" in item.gate.policy.get("comment", ()) for item in items),
        "typed": request.POST,
        "refused": refused,
    }
    return render(request, "gates/batch.html", context, status=status)


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
    for item in items:
        if item.why_not:
            continue
        try:
            item.decision = decide(
                item.gate.pk, by=request.user, verdict=verdict, comment=posted.get("comment", ""), channel="page",
                version=whole_number(posted.get(f"version-{item.gate.pk}", "")),
                proposal_hash=posted.get(f"hash-{item.gate.pk}"), confirmed=confirmed,
            )  # fmt: skip
        except (InvalidDecision, Refused, *UNUSABLE) as error:
            item.refused = str(error)
        item.gate.refresh_from_db()


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
