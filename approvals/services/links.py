"""Links to one gate for one person: made when a message is sent, signed, and good for a while."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import F

from approvals.models import Gate, Link
from runs.access import require
from runs.clock import database_now
from runs.models import Act
from runs.services import audit

SIGNER = signing.Signer(salt="holdfast.link")


class LinkUnknown(LookupError):
    """No link of ours: it was never made, or was altered."""


def issue(gate: Gate, user: Any) -> Link:
    """The person's link to the gate; a message that is sent twice carries the same one."""
    until = database_now() + timedelta(days=settings.HOLDFAST_LINK_DAYS)
    found = Link.objects.filter(gate=gate, user=user, revoked_at=None).first()
    if found is None:
        try:
            with transaction.atomic():
                return Link.objects.create(gate=gate, user=user, expires_at=until)
        except IntegrityError:  # another message was first
            found = Link.objects.get(gate=gate, user=user, revoked_at=None)
    found.expires_at = max(found.expires_at, until)
    found.save(update_fields=["expires_at"])
    return found


def token_of(link: Link) -> str:
    return SIGNER.sign(link.pk.hex)


def found_by(token: str) -> Link:
    """The link whatever its state. Raises LinkUnknown."""
    try:
        number = uuid.UUID(SIGNER.unsign(token))
        return Link.objects.select_related("user", "gate").get(pk=number)
    except (signing.BadSignature, ValueError, Link.DoesNotExist):
        raise LinkUnknown("This link is none of ours, or was altered.") from None


@transaction.atomic
def revoke(link: Link, *, by: Any) -> None:
    """One's own; admins anybody's. Raises NotPermitted."""
    if link.user_id != by.pk:
        require(by, "administer")
    if Link.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=database_now(), revoked_by=by.get_username()):
        audit.record(by, Act.LINK_REVOKED, gate=link.gate, subject=f"of {link.user}: {link.gate.title}")


def live_of(user: Any) -> Any:
    """The person's links that still open something."""
    live = Link.objects.filter(user=user, revoked_at=None, expires_at__gt=database_now(), gate__status="open")
    return live.select_related("gate__run").order_by(F("expires_at").asc())
