"""Proving once more who one is, before something of high risk."""

from typing import Any

from approvals.refusals import InvalidDecision


def confirmed(user: Any, password: str | None) -> bool:
    """Whether the password was given. Raises InvalidDecision for a wrong one."""
    if not password:
        return False
    if not user.check_password(password):
        raise InvalidDecision({"password": "this is not your password"})
    return True
