"""Links to one gate for one person: made when a message is sent, signed, and good for a while."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import transaction

from approvals.models import Decision, Gate, GateStatus, Link, Verdict
from runs import doors
from runs.access import require
from runs.clock import database_now
from runs.models import Act
from runs.services import audit

TAPPED = (Verdict.APPROVE, Verdict.REJECT)  # that need nothing but a comment: what a link, and a message, can be used for
SIGNER = signing.Signer(salt="holdfast.link")
MADE = signing.TimestampSigner(salt="holdfast.link.made")
MOMENT = 120  # seconds for which a link tells of the decision that it was used for


class LinkUnknown(LookupError):
    """No link of ours: it was never made, or was altered."""


def issue(gate: Gate, user: Any) -> Link | None:
    """The person's link to the gate; a message that is sent twice carries the same one. None: theirs was revoked."""
    until = database_now() + timedelta(days=settings.HOLDFAST_LINK_DAYS)
    found, is_new = Link.objects.get_or_create(gate=gate, user=user, defaults={"expires_at": until})
    if found.revoked_at is not None:
        return None
    if not is_new:
        Link.objects.filter(pk=found.pk, expires_at__lt=until).update(expires_at=until)
    return found


def made_by(decision: Decision) -> str:
    """What whoever has just decided by a link is given, to be told of it and to take it back; good for a moment."""
    return MADE.sign(str(decision.pk))


def read_made(text: str, link: Link) -> Decision | None:
    """The decision that was made by this link a moment ago, where ``text`` proves that."""
    try:
        number = int(MADE.unsign(text, max_age=MOMENT))
    except (signing.BadSignature, ValueError):
        return None
    by_link = Decision.objects.filter(gate=link.gate_id, by=link.user_id, channel__in=(doors.LINK, doors.BEARER))
    return by_link.filter(pk=number).first()


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
    live = Link.objects.filter(user=user, revoked_at=None, expires_at__gt=database_now(), gate__status=GateStatus.OPEN)
    return live.select_related("gate__run").order_by("expires_at")
