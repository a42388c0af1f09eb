"""Slack's buttons: one more door to the same decision. And the page on which a chat's account is linked to its owner."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from slack_sdk.signature import SignatureVerifier

from approvals import confirming
from approvals.models import Channel, ChannelKind, ChatAccount, Gate
from approvals.notifying import answering, occasions, slacking
from approvals.refusals import InvalidDecision, NotConfirmed, Refused
from approvals.services import channels, chat
from approvals.services.deciding import closed_in_words, decide
from approvals.views import UNUSABLE
from runs import doors
from runs.words import VERDICTS
from workflows import codec

ID = re.compile(r"[A-Za-z0-9]{1,50}")  # of a team, or of an account


@csrf_exempt
@require_POST
def slack_create(request: HttpRequest, channel_id: int) -> HttpResponse:
    """A button was pressed. Only what the app's secret has signed, not long ago, is read."""
    channel = get_object_or_404(Channel.objects.enabled(), pk=channel_id, kind=ChannelKind.SLACK)
    secret = next((one for one in channels.opened(channel)["secrets"] if _is_signed(request, one)), None)
    if secret is None:
        return HttpResponse("The signature is not that of this channel's Slack app, or is too old.", status=401)
    try:
        pressed = _pressed(json.loads(request.POST.get("payload", "")))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        return HttpResponse(f"A pressed button was expected: {type(error).__name__}", status=400)
    if pressed is not None:
        app = chat.app_of(secret)
        person = chat.person_of(app, pressed.team, pressed.account)
        if person is None:
            answer = _stranger(app, pressed)
        else:
            doors.came(person, doors.SLACK, doors.address_of(request))
            answer = _decided(person, pressed)
        answering.answer(pressed.answer_at, answer)
    return HttpResponse(status=200)


def _is_signed(request: HttpRequest, secret: str) -> bool:
    try:
        return bool(SignatureVerifier(secret).is_valid_request(request.body, dict(request.headers)))
    except (ValueError, TypeError, OverflowError):  # of a timestamp, a body or a signature that is none
        return False


@dataclass(frozen=True)
class Pressed:
    """A button of ours, and who pressed it. ``seen``: what the button was bound to."""

    gate_id: uuid.UUID
    verdict: str
    seen: Mapping[str, Any]
    team: str
    account: str
    name: str
    answer_at: str


def _pressed(given: Any) -> Pressed | None:
    """None: nothing that decides. Raises what a malformed payload leads to."""
    if given.get("type") != "block_actions":
        return None
    action, who = given["actions"][0], given["user"]
    if not str(action["action_id"]).startswith(slacking.DECIDE):  # a link was opened
        return None
    place = json.loads(action["value"])
    team, account = str((given.get("team") or {}).get("id", "")), str(who["id"])
    if not ID.fullmatch(account) or not ID.fullmatch(team):
        raise ValueError
    return Pressed(
        gate_id=uuid.UUID(place["gate"]),
        verdict=str(action["action_id"]).removeprefix(f"{slacking.DECIDE}."),
        seen={"version": int(place["version"]), "proposal_hash": str(place["hash"])},
        team=team,
        account=account,
        name=codec.clean(str(who.get("username") or who.get("name") or account)),
        answer_at=str(given.get("response_url", "")),
    )


def _decided(person: Any, pressed: Pressed) -> dict[str, Any]:
    """Decide as the person; what Slack is told of it."""
    gate = Gate.objects.visible_to(person).filter(pk=pressed.gate_id).first()
    if gate is None:
        return _aside("There is no such gate, or you may not see it.")
    page = slacking.page_of(gate)
    try:
        decision = decide(gate.pk, by=person, verdict=pressed.verdict, channel=doors.SLACK, **pressed.seen)
    except NotConfirmed:
        return _aside(f"This needs your password: {page}")
    except (InvalidDecision, *UNUSABLE) as error:
        return _aside(f"Nothing was decided: {error} {page}")
    except Refused as error:
        current = Gate.objects.get(pk=gate.pk)
        if not current.is_open:
            return slacking.answered(gate, f"{closed_in_words(current)}. Your answer was not counted.")
        return _aside(f"Nothing was decided: {error} {page}")
    gate.refresh_from_db()
    if gate.is_open:  # the buttons stay, for more votes are wanted
        return _aside(f"Your vote counts; more are needed. {page}")
    return slacking.answered(gate, f"{person.get_username()} {VERDICTS[decision.verdict]}.")


def _stranger(app: str, pressed: Pressed) -> dict[str, Any]:
    link = occasions.address("chat-account-create", chat.offer(app, pressed.team, pressed.account, pressed.name))
    page = occasions.address("gate-detail", pressed.gate_id)
    return _aside(f"Holdfast does not know who you are here. Decide on its page: {page} or link this account first: {link}")


def _aside(text: str) -> dict[str, Any]:
    """For whoever pressed the button, and nobody else; the message stays as it is."""
    return {"response_type": "ephemeral", "replace_original": False, "text": text}


@login_required
def account_create(request: HttpRequest, token: str) -> HttpResponse:
    """Ask whether the chat's account is one's own; a POST with the password says so."""
    refused, status = "", 200
    try:
        given = chat.read(token)
        if request.method == "POST":
            if confirming.confirmed(request.user, request.POST.get("password")):
                chat.link(token, by=request.user)
                return redirect("preference-detail")
            refused, status = "Your password was expected.", 422
    except chat.OfferInvalid as error:
        return render(request, "links/told.html", {"title": "Not linked", "text": str(error)}, status=410)
    except InvalidDecision as error:
        refused, status = f"{error}.", 422
    context = {"given": given, "token": token, "refused": refused}
    return render(request, "settings/chat_account.html", context, status=status)


@login_required
@require_POST
def account_delete(request: HttpRequest, account_id: int) -> HttpResponse:
    chat.unlink(get_object_or_404(ChatAccount, pk=account_id, user=request.user.pk), by=request.user)
    return redirect("preference-detail")
