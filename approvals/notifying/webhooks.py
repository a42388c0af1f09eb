"""Outbound webhooks by the Standard Webhooks specification: signed, with the delivery's id as the message's."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from standardwebhooks import Webhook

from approvals.models import Channel, Delivery
from approvals.notifying import outbound, schedule
from approvals.notifying.sending import TIMEOUT, NotTaken
from approvals.services import channels
from runs.clock import database_now
from workflows import codec

OVERLOADED = (429, 502, 504)
GONE = 410


def send(delivery: Delivery, channel: Channel) -> int:
    """POST it, signed; the status, which is one of success. Raises NotTaken, SecretsLocked."""
    opened = channels.opened(channel)
    text = content(delivery)
    return post(opened["url"], text, signed(str(delivery.pk), text, opened["secrets"]))


def post(url: str, text: str, headers: Mapping[str, str]) -> int:
    """POST JSON; the status, which is one of success. Raises NotTaken, whose words do not name the address."""
    headers = {"content-type": "application/json", "user-agent": "Holdfast", **headers}
    try:
        with (
            outbound.guarded(),
            httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", url, content=text.encode(), headers=headers) as answer,
        ):
            said = next(answer.iter_bytes(300), b"").decode(errors="replace") if answer.status_code >= 300 else ""
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NotTaken(story(error).replace(url, "…")) from None
    if 200 <= answer.status_code < 300:
        return answer.status_code
    why = f"it answered {answer.status_code} {answer.reason_phrase}".rstrip() + (f": {said}" if said else "")
    raise NotTaken(
        why.replace(url, "…"), status=answer.status_code, retry_after=_asked_for(answer),
        rest=answer.status_code in OVERLOADED, gone=answer.status_code == GONE,
    )  # fmt: skip


def content(delivery: Delivery) -> str:
    """``{"type", "timestamp", "data"}``, the same for every try."""
    told: dict[str, Any] = {"type": delivery.occasion, "timestamp": delivery.created_at.isoformat(), "data": delivery.body}
    return codec.dumps(told).decode()


def signed(number: str, text: str, secrets: list[str]) -> dict[str, str]:
    """The three headers; with two secrets two signatures, so that a receiver may change over at any time."""
    at = database_now().astimezone(UTC)
    signatures = " ".join(Webhook(secret).sign(number, at, text) for secret in secrets)
    return {"webhook-id": number, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signatures}


def story(error: BaseException) -> str:
    """The error and what led to it, in one line."""
    said: list[str] = []
    current: BaseException | None = error
    while current is not None and len(said) < 5:
        text = f"{type(current).__name__}: {current}" if str(current) else type(current).__name__
        if not said or str(current) not in said[-1]:
            said.append(text)
        current = current.__cause__ or current.__context__
    return " ← ".join(said)


def _asked_for(answer: httpx.Response) -> float | None:
    """Seconds, from ``retry-after`` as a number or as a date."""
    text = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text.isdigit() else (parsedate_to_datetime(text) - database_now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), schedule.LONGEST)
