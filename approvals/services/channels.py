"""Setting channels up: where messages go, of what, and with which secrets. Only admins do."""

import json
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import InvalidToken
from django.db import IntegrityError, transaction

from approvals.models import Channel, ChannelKind, Delivery, DeliveryState, Occasion
from approvals.notifying import apprising, outbound
from approvals.refusals import InvalidDecision
from checkpoints import sealing
from runs import bell
from runs.access import require
from runs.clock import Now, database_now
from runs.models import Act
from runs.services import audit

SECRET_BYTES = 32
NAME_LIMIT = 100


class ChannelInvalid(InvalidDecision):
    """A channel that cannot be. ``errors`` maps a field to what was expected."""


def opened(channel: Channel) -> dict[str, Any]:
    """``{"url", "secrets"}``: a webhook's signing secrets (two while one is replaced), a Slack app's. Raises SecretsLocked."""
    found: dict[str, Any] = json.loads(sealing.unwrapped(channel.sealed, f"of channel {channel.name}"))
    return found


@transaction.atomic
def create(
    *, by: Any, name: str, kind: str, url: str, events: Sequence[str], workflows: Sequence[str] = (), only_named: bool = False,
    secret: str = "",
) -> Channel:  # fmt: skip
    """A new channel. A webhook's secret is made here; a Slack app's (its signing secret) is given. Raises ChannelInvalid."""
    require(by, "administer")
    _check(name, kind, events)
    url = _checked_url(kind, url)
    if kind == ChannelKind.SLACK and not secret.strip():
        raise ChannelInvalid({"secret": "the signing secret of the Slack app was expected"})
    given = [new_secret()] if kind == ChannelKind.WEBHOOK else [secret.strip()] if secret.strip() else []
    channel = Channel(name=name.strip(), kind=kind, created_by=by, only_named=only_named, events=list(events))
    channel.workflows = list(workflows)
    _seal(channel, url, given)
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
    except IntegrityError:
        raise ChannelInvalid({"name": f"another channel is called {name[:100]!r} already"}) from None
    _audit(by, channel, {"made": channel.kind, **_facts(channel)})
    return channel


@transaction.atomic
def change(
    channel_id: int, *, by: Any, events: Sequence[str], workflows: Sequence[str], only_named: bool, url: str = "",
    secret: str = "",
) -> Channel:  # fmt: skip
    """What it hears of, and where it goes; an empty ``url``, or ``secret`` of a Slack app, stays as it is.

    Raises ChannelInvalid, Channel.DoesNotExist.
    """
    channel = _locked(channel_id, by)
    _check(channel.name, channel.kind, events)
    before = _facts(channel)
    channel.events, channel.workflows, channel.only_named = list(events), list(workflows), only_named
    now = opened(channel)
    given = [secret.strip()] if secret.strip() and channel.kind == ChannelKind.SLACK else now["secrets"]
    _seal(channel, _checked_url(channel.kind, url) if url.strip() else now["url"], given)
    channel.save(update_fields=["events", "workflows", "only_named", "sealed", "shown"])
    _audit(by, channel, {"from": before, "to": _facts(channel)})
    return channel


@transaction.atomic
def rotate_secret(channel_id: int, *, by: Any) -> str:
    """A new secret, the first to sign; the one before goes on signing, too, until it is retired. Returns the new one."""
    channel = _locked(channel_id, by)
    found = opened(channel)
    fresh = new_secret()
    _seal(channel, found["url"], [fresh, *found["secrets"][:1]])
    channel.save(update_fields=["sealed"])
    _audit(by, channel, {"secret": "rotated; two sign"})
    return fresh


@transaction.atomic
def retire_secret(channel_id: int, *, by: Any) -> None:
    """Only the newest secret signs from now on."""
    channel = _locked(channel_id, by)
    found = opened(channel)
    _seal(channel, found["url"], found["secrets"][:1])
    channel.save(update_fields=["sealed"])
    _audit(by, channel, {"secret": "the old one signs no more"})


@transaction.atomic
def switch(channel_id: int, *, by: Any, on: bool) -> Channel:
    """On, also after its receiver has said that it wants no more: what waited is sent then. Or off."""
    channel = _locked(channel_id, by)
    channel.disabled_at, channel.disabled_why = (None if on else database_now()), ""
    channel.failures, channel.failing_since, channel.rests_until = 0, None, None
    channel.save(update_fields=["disabled_at", "disabled_why", "failures", "failing_since", "rests_until"])
    _audit(by, channel, {"switched": "on" if on else "off"})
    bell.tell_on_commit()
    return channel


@transaction.atomic
def delete(channel_id: int, *, by: Any) -> None:
    """With its log; the audit keeps that it was."""
    channel = _locked(channel_id, by)
    _audit(by, channel, {"deleted": _facts(channel)})
    channel.delete()


@transaction.atomic
def redeliver(delivery_id: Any, *, by: Any) -> Delivery:
    """Send it once more, with the same id: a receiver that has it can tell. Raises Delivery.DoesNotExist."""
    require(by, "administer")
    delivery = (
        Delivery.objects.select_for_update(of=("self",)).select_related("channel").get(pk=delivery_id, channel__isnull=False)
    )
    again = {"state": DeliveryState.WAITING, "final_at": None, "tries": 0, "due_at": Now(), "taken_until": None}
    Delivery.objects.filter(pk=delivery.pk).update(**again)
    audit.record(
        by, Act.REDELIVERED, subject=f"{delivery.occasion} to {delivery.channel}", changed={"delivery": str(delivery.pk)}
    )
    bell.tell_on_commit()
    delivery.refresh_from_db()
    return delivery


def rotate_master_key() -> int:
    """Encrypt every channel's secrets anew with the first master key. Raises SecretsLocked."""
    count = 0
    for channel in Channel.objects.all():
        try:
            Channel.objects.filter(pk=channel.pk).update(sealed=sealing.rewrapped(channel.sealed))
        except InvalidToken:
            sealing.unwrapped(channel.sealed, f"of channel {channel.name}")
        count += 1
    return count


def new_secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _locked(channel_id: int, by: Any) -> Channel:
    require(by, "administer")
    return Channel.objects.select_for_update(of=("self",)).get(pk=channel_id)


def _seal(channel: Channel, url: str, given: list[str]) -> None:
    channel.sealed = sealing.wrapped(json.dumps({"url": url, "secrets": given}))
    channel.shown = _shown(channel.kind, url)


def _shown(kind: str, url: str) -> str:
    """What may be shown of it: never the path, which is often a secret; of an Apprise address only the service."""
    parts = urlsplit(url)
    if kind == ChannelKind.APPRISE:
        return f"{parts.scheme}://…"
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}/…"[:200]


def _checked_url(kind: str, url: str) -> str:
    url = url.strip()
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ChannelInvalid({"url": "an address without spaces was expected"})
    if kind == ChannelKind.APPRISE:
        if why := apprising.why_not(url):
            raise ChannelInvalid({"url": why})
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ChannelInvalid({"url": "an address such as https://example.com/hooks was expected"}) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > 2000 or "\0" in url:
        raise ChannelInvalid({"url": "an address such as https://example.com/hooks was expected"})
    try:
        outbound.check(parts.hostname)
    except outbound.Forbidden as error:
        raise ChannelInvalid({"url": str(error)}) from None
    return url


def _check(name: str, kind: str, events: Sequence[str]) -> None:
    errors: dict[str, str] = {}
    if not 1 <= len(name.strip()) <= NAME_LIMIT or "\0" in name:
        errors["name"] = f"a name of 1 to {NAME_LIMIT} characters was expected"
    if kind not in ChannelKind.values:
        errors["kind"] = f"one of {', '.join(ChannelKind.values)} was expected"
    if not events or not set(events) <= set(Occasion.real()):
        errors["events"] = "at least one thing to hear of was expected"
    if errors:
        raise ChannelInvalid(errors)


def _facts(channel: Channel) -> Mapping[str, Any]:
    return {
        "address": channel.shown,
        "events": list(channel.events),
        "workflows": list(channel.workflows),
        "only_named": channel.only_named,
    }


def _audit(by: Any, channel: Channel, changed: Mapping[str, Any]) -> None:
    audit.record(by, Act.CHANNEL_CHANGED, subject=channel.name, changed=changed)
