"""A chat's account and the person whose it is: linked by the person themselves, signed in here."""

import hashlib
from typing import Any

from django.core import signing
from django.db import transaction

from approvals.models import ChatAccount
from runs.models import Act
from runs.services import audit

LASTS = 900  # seconds for which an offer to link an account is good
SALT = "holdfast.chat"


class OfferInvalid(ValueError):
    """The offer was altered, or is too old."""


def app_of(secret: str) -> str:
    """What an app is known by here: only who has its signing secret can speak for its accounts."""
    return hashlib.sha256(f"holdfast.chat:{secret}".encode()).hexdigest()


def person_of(app: str, team: str, account: str) -> Any | None:
    """Whose account it is, if they can sign in."""
    found = ChatAccount.objects.filter(app=app, team=team, account=account, user__is_active=True).select_related("user").first()
    return found.user if found else None


def offer(app: str, team: str, account: str, name: str) -> str:
    """What the owner of the account is given, in the chat, to say here who they are."""
    return signing.dumps({"app": app, "team": team, "account": account, "name": name[:150]}, salt=SALT)


def read(token: str) -> dict[str, str]:
    """Raises OfferInvalid."""
    try:
        found: dict[str, str] = signing.loads(token, salt=SALT, max_age=LASTS)
        return found
    except signing.BadSignature:
        raise OfferInvalid(
            "This offer is none of ours, or is older than a quarter of an hour. Press the button once more."
        ) from None


@transaction.atomic
def link(token: str, *, by: Any) -> ChatAccount:
    """From now on what is pressed by that account is the person's act. Raises OfferInvalid; also where it is another's."""
    given = read(token)
    place = {name: given[name] for name in ("app", "team", "account")}
    found, is_new = ChatAccount.objects.get_or_create(**place, defaults={"user": by, "name": given["name"]})
    if found.user_id != by.pk:
        raise OfferInvalid("This account is linked to somebody else, who has to unlink it first.")
    if is_new:
        audit.record(by, Act.CHAT_LINKED, subject=f"Slack account {given['name']}", changed=given)
    return found


@transaction.atomic
def unlink(account: ChatAccount, *, by: Any) -> None:
    audit.record(by, Act.CHAT_UNLINKED, subject=f"Slack account {account}", changed={"account": account.account})
    account.delete()
