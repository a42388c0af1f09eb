"""Policies as admins have set them, in place of the workflow's own. A gate keeps the policy that it was opened with."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from approvals.models import PolicyChange
from runs.access import require
from workflows.policy import Policy

REASON_LIMIT = 2000  # characters


class PolicyInvalid(Exception):
    """A policy that cannot be. ``errors`` maps a field to what was expected."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))


def effective(workflow: str, key: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """The policy under which the workflow's gate ``key`` opens now, with the approvers that it would have by itself."""
    change = PolicyChange.objects.current(workflow, policy.get("name") or key)
    if change is None or change.policy is None:
        return dict(policy)
    found = dict(change.policy)
    if found["approvers"] is None:
        found["approvers"] = policy["approvers"]
    return found


@transaction.atomic
def change(workflow: str, name: str, policy: Mapping[str, Any] | None, *, by: Any, reason: str) -> PolicyChange:
    """Set the policy for gates that open from now on; None: the workflow's own again. Raises NotPermitted, PolicyInvalid."""
    require(by, "administer")
    if not reason.strip() or len(reason) > REASON_LIMIT or "\0" in reason:
        raise PolicyInvalid({"reason": f"text of 1 to {REASON_LIMIT} characters was expected"})
    found = None if policy is None else parsed({**policy, "name": name}).as_json()
    return PolicyChange.objects.create(workflow=workflow, name=name, policy=found, by=by, reason=reason)


def parsed(given: Mapping[str, Any]) -> Policy:
    """Raises PolicyInvalid."""
    try:
        return Policy.from_json(given)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PolicyInvalid({"policy": str(error)}) from None
