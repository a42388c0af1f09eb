"""Sending a test: at once, by the very code that sends messages, with the whole story of what happened."""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from approvals.models import Channel, Delivery, DeliveryState, Occasion, Try
from approvals.notifying import delivering
from runs.clock import database_now


@dataclass(frozen=True)
class Story:
    """What became of a test. ``error``: all that is known of why it was not taken; empty where it was."""

    to: str
    took_ms: int
    status: int | None
    error: str
    advice: str = ""  # what to look at, in words


HINTS = {
    "private address": "An admin of the host can allow that network: HOLDFAST_OUTBOUND_ALLOW.",
    "Name or service not known": "The name does not exist, or this host cannot look names up.",
    "getaddrinfo failed": "The name does not exist, or this host cannot look names up.",
    "Connection refused": "Nothing listens there: is the port right, is the receiver up?",
    "CERTIFICATE_VERIFY_FAILED": "Its certificate is not valid for that name, or has expired.",
    "Connection error": "It could not be reached: is the address right, and can this host reach it?",
    "No address associated": "The name does not exist, or this host cannot look names up.",
    "Temporary failure in name resolution": "The name does not exist, or this host cannot look names up.",
    "timed out": "It did not answer in time: a firewall may drop the connection.",
    "HOLDFAST_SMTP_URL": "Set it to the mail server: smtp+tls://user:password@host:587.",
    " 401": "It wants other credentials: is the token or the secret right?",
    " 403": "It knows us and refuses: look at the permissions there.",
    " 404": "There is nothing at that address: is it written right?",
    " 410": "The receiver says that it wants no more messages.",
}


def _story(to: str, took_ms: int, status: int | None, error: str) -> Story:
    return Story(to, took_ms, status, error, next((text for mark, text in HINTS.items() if mark in error), ""))


def of_channel(channel: Channel) -> Story:
    return _tried(Delivery(channel=channel), channel.shown)


def of_mail(user: Any) -> Story:
    if not user.email:
        return _story("you", 0, None, "Your account has no e-mail address: ask an admin to set it.")
    return _tried(Delivery(user=user), user.email)


def _tried(delivery: Delivery, to: str) -> Story:
    """Send it from this request. It is kept in the channel's log, and never tried again."""
    delivery.occasion, delivery.body, delivery.created_at = Occasion.TEST, _body(), database_now()
    began = time.monotonic()
    status, error = delivering.send_once([delivery])
    took = round((time.monotonic() - began) * 1000)
    if delivery.channel is not None:
        delivery.state = DeliveryState.FAILED if error else DeliveryState.SENT
        delivery.final_at, delivery.tries = database_now(), 1
        delivery.save(force_insert=True)
        found = error.status if error else status
        delivering.note_test(delivery.channel, error)
        Try.objects.create(delivery=delivery, took_ms=took, status=found, error=str(error or ""))
    return _story(to, took, error.status if error else status, str(error or ""))


def _body() -> dict[str, Any]:
    return {"text": "If you can read this, messages arrive here.", "url": settings.HOLDFAST_URL + reverse("preference-detail")}
