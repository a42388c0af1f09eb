"""Roles are Django groups. What a role may do is written here once."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied

if TYPE_CHECKING:
    from django.db.models import QuerySet

VIEWER, OPERATOR, APPROVER, ADMIN = ROLES = ("viewer", "operator", "approver", "admin")
_MAY = {
    "see": {VIEWER, OPERATOR, APPROVER, ADMIN},
    "operate": {OPERATOR, ADMIN},
    "administer": {ADMIN},
}


class NotPermitted(PermissionDenied):
    """The actor sees the thing, and may not do this with it."""


def group_names(user: Any) -> frozenset[str]:
    """The names of the user's groups, read once per request."""
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return frozenset()
    if not hasattr(user, "_holdfast_groups"):
        groups: QuerySet[Any] = user.groups.values_list("name", flat=True)
        user._holdfast_groups = frozenset(groups)
    return frozenset(user._holdfast_groups)


def roles(user: Any) -> frozenset[str]:
    """The user's roles; a superuser has all of them."""
    if getattr(user, "is_superuser", False) and user.is_active:
        return frozenset(ROLES)
    return group_names(user) & set(ROLES)


def may(user: Any, what: str) -> bool:
    """Whether the user may ``see``, ``operate`` or ``administer``."""
    return bool(roles(user) & _MAY[what])


def require(user: Any, what: str) -> None:
    """Raises NotPermitted that names the role which would do."""
    if not may(user, what):
        needed = " or ".join(role for role in ROLES if role in _MAY[what])
        raise NotPermitted(f"This needs the role {needed}.")
