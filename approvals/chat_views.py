"""Slack's buttons: one more door to the same decision. And the page on which a chat's account is linked to its owner."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from slack_sdk.signature import SignatureVerifier

from approvals.models import Channel, ChannelKind, ChatAccount, Gate
from approvals.notifying import answering, occasions, slacking
from approvals.refusals import InvalidDecision, NotConfirmed, Refused
from approvals.services import channels, chat
from approvals.services.deciding import closed_in_words, decide
from approvals.views import UNUSABLE
from runs import doors
from runs.words import VERDICTS


@csrf_exempt
@require_POST
def slack_create(request: HttpRequest, channel_id: int) -> HttpResponse:
    """A button was pressed. Only what the app's secret has signed, not long ago, is read."""
    channel = get_object_or_404(Channel, pk=channel_id, kind=ChannelKind.SLACK)
    secrets = channels.opened(channel)["secrets"]
    if not any(SignatureVerifier(secret).is_valid_request(request.body, dict(request.headers)) for secret in secrets):
        return HttpResponse("The signature is not that of this channel's Slack app, or is too old.", status=401)
    try:
        pressed = json.loads(request.POST.get("payload", ""))
        if pressed.get("type") != "block_actions":
            return HttpResponse(status=200)
        action = pressed["actions"][0]
        who = pressed["user"]
        if not str(action["action_id"]).startswith(slacking.DECIDE):  # a link was opened
            return HttpResponse(status=200)
        place = json.loads(action["value"])
        gate_id = uuid.UUID(place["gate"])
        seen = {"version": int(place["version"]), "proposal_hash": str(place["hash"])}
        verdict = str(action["action_id"]).removeprefix(f"{slacking.DECIDE}.")
        team, account = str((pressed.get("team") or {}).get("id", "")), str(who["id"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return HttpResponse(f"A pressed button was expected: {type(error).__name__}", status=400)
    person = chat.person_of(team, account)
    if person is None:
        answer = _stranger(team, account, str(who.get("username") or who.get("name") or account), gate_id)
    else:
        doors.came(person, doors.SLACK, doors.address_of(request))
        answer = _decided(person, verdict, gate_id, seen)
    answering.answer(str(pressed.get("response_url", "")), answer)
    return HttpResponse(status=200)


def _decided(person: Any, verdict: str, gate_id: uuid.UUID, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Decide as the person; what Slack is told of it."""
    gate = Gate.objects.visible_to(person).filter(pk=gate_id).first()
    if gate is None:
        return _aside("There is no such gate, or you may not see it.")
    try:
        decision = decide(gate.pk, by=person, verdict=verdict, channel=doors.SLACK, **seen)
    except NotConfirmed:
        return _aside(f"This needs your password: {occasions.address('gate-detail', gate.pk)}")
    except (InvalidDecision, *UNUSABLE) as error:
        return _aside(f"Nothing was decided: {error} {occasions.address('gate-detail', gate.pk)}")
    except Refused as error:
        current = Gate.objects.get(pk=gate.pk)
        if not current.is_open:
            return slacking.answered(gate.title, f"{closed_in_words(current)}. Nothing was decided by you.")
        return _aside(f"Nothing was decided: {error} {occasions.address('gate-detail', gate.pk)}")
    gate.refresh_from_db()
    words = f"{person.get_username()} {VERDICTS[decision.verdict]}"
    if gate.is_open:  # the buttons stay, for more votes are wanted
        return _aside(f"Your vote counts; more are needed. {occasions.address('gate-detail', gate.pk)}")
    return slacking.answered(gate.title, f"{words}. {occasions.address('gate-detail', gate.pk)}")


def _stranger(team: str, account: str, name: str, gate_id: uuid.UUID) -> dict[str, Any]:
    link = occasions.address("chat-account-create", chat.offer(team, account, name))
    page = occasions.address("gate-detail", gate_id)
    return _aside(f"Holdfast does not know who you are here. Decide on its page: {page} or link this account first: {link}")


def _aside(text: str) -> dict[str, Any]:
    """For whoever pressed the button, and nobody else; the message stays as it is."""
    return {"response_type": "ephemeral", "replace_original": False, "text": text}


@login_required
def account_create(request: HttpRequest, token: str) -> HttpResponse:
    """Ask whether the chat's account is one's own; a POST says so."""
    try:
        given = chat.read(token)
        if request.method == "POST":
            chat.link(token, by=request.user)
            return redirect("preference-detail")
    except chat.OfferInvalid as error:
        return render(request, "links/told.html", {"title": "Not linked", "text": str(error)}, status=410)
    return render(request, "settings/chat_account.html", {"given": given, "token": token})


@login_required
@require_POST
def account_delete(request: HttpRequest, account_id: int) -> HttpResponse:
    chat.unlink(get_object_or_404(ChatAccount, pk=account_id, user=request.user.pk), by=request.user)
    return redirect("preference-detail")
