"""What an open page asks for meanwhile: who else looks, where the run of a decided gate is, and how much waits."""

import uuid

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from approvals import inbox, presence
from approvals.models import Preference
from approvals.views import sent, signed_in, visible
from runs import words

NEWEST = 5  # gates that a browser may show a notification of


@sent
def presence_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    """Say that one has the gate open, and hear who else has."""
    gate, username = visible(request, gate_id), request.user.get_username()
    if gate.is_open:
        presence.look(gate.pk, username)
    return render(request, "gates/_looking.html", {"looking": presence.looking([gate.pk], but=username).get(gate.pk, [])})


@signed_in
def following_detail(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    """Where the run of a decided gate is by now, in one line."""
    return render(request, "gates/_following.html", {"run": visible(request, gate_id).run})


@signed_in
def mine_list(request: HttpRequest) -> HttpResponse:
    """How many gates wait for whoever asks, and the newest: for the title of a page, and the browser's own notifications."""
    tab = inbox.tab(request.user, "mine")
    newest = inbox.gates(request.user, "mine", "").order_by("-opened_at")[:NEWEST]
    gates = [
        {"id": str(gate.pk), "title": words.visible(gate.title), "url": reverse("gate-detail", args=[gate.pk])}
        for gate in newest
    ]
    found = {"count": tab.count_words, "gates": gates, "notifies": Preference.of(request.user).browser}
    return JsonResponse(found, headers={"Cache-Control": "no-store"})
