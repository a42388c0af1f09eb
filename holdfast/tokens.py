"""API tokens: made and revoked by their owners and by admins, each of them an act."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from holdfast.models import ApiToken, Scope
from runs.access import NotPermitted, may
from runs.clock import database_now
from runs.invalid import FieldsInvalid
from runs.models import Act
from runs.services import audit

NAME = 100  # characters
MOST_DAYS = 3660
MOST = 100  # tokens a person


class TokenInvalid(FieldsInvalid):
    pass


@transaction.atomic
def make(user: Any, *, by: Any, name: str = "", scope: str = Scope.ALL, days: int | None = None) -> str:
    """A new token of ``user``, to be read only now; ``days`` until it expires, None: never. Raises TokenInvalid."""
    errors = {}
    if len(name) > NAME or "\0" in name:
        errors["name"] = f"at most {NAME} characters were expected"
    if scope not in Scope.values:
        errors["scope"] = f"one of {', '.join(Scope.values)} was expected"
    if days is not None and not 1 <= days <= MOST_DAYS:
        errors["days"] = f"1 to {MOST_DAYS} days, or nothing, were expected"
    if ApiToken.objects.filter(user=user).count() >= MOST:
        errors["name"] = f"there are {MOST} tokens already; revoke one first"
    if errors:
        raise TokenInvalid(errors)
    expires: datetime | None = None if days is None else database_now() + timedelta(days=days)
    token = ApiToken.issue(user, name=name, scope=scope, expires_at=expires)
    changed = {"scope": scope, "expires_at": expires and expires.isoformat()}
    audit.record(by, Act.TOKEN_MADE, subject=f"for {user} {name}".strip(), changed=changed)
    return token


@transaction.atomic
def revoke(token: ApiToken, *, by: Any) -> None:
    """From now on it opens nothing. Raises NotPermitted: its owner may, and an admin."""
    if token.user_id != by.pk and not may(by, "administer"):
        raise NotPermitted("Only its owner, or an admin, may revoke this token.")
    audit.record(by, Act.TOKEN_REVOKED, subject=f"of {token.user} {token.name}".strip())
    token.delete()
