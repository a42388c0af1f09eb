"""Policies as admins have set them, in place of the workflow's own. A gate keeps the policy that it was opened with."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from approvals.models import PolicyChange
from approvals.services import timing
from runs.access import require
from runs.clock import database_now
from runs.invalid import FieldsInvalid
from runs.models import Act
from runs.services import audit
from workflows.policy import Policy

REASON_LIMIT = 2000  # characters


class PolicyInvalid(FieldsInvalid):
    """A policy that cannot be."""


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
    before = PolicyChange.objects.current(workflow, name)
    changed = {"from": before and before.policy, "to": found}
    audit.record(by, Act.POLICY_CHANGED, subject=f"{workflow} {name}", reason=reason, changed=changed)
    return PolicyChange.objects.create(workflow=workflow, name=name, policy=found, by=by, reason=reason)


def parsed(given: Mapping[str, Any]) -> Policy:
    """Raises PolicyInvalid."""
    try:
        policy = Policy.from_json(given)
        _try_clock(policy.as_json())
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise PolicyInvalid({"policy": str(error)}) from None
    return policy


def _try_clock(policy: Mapping[str, Any]) -> None:
    """Whether its time ever passes. Raises ValueError, OverflowError."""
    at, seconds, choice = database_now(), policy["timeout"], policy["on_timeout"]
    while seconds is not None:
        at = timing.clock(policy, at, seconds)["due_at"]
        seconds, choice = (choice["timeout"], choice["then"]) if isinstance(choice, Mapping) else (None, None)


def doubts(policy: Mapping[str, Any]) -> list[str]:
    """What is allowed and hardly meant: approvers that nobody is, a quorum that the people there are cannot make up."""
    names = policy["approvers"] or []
    active = User.objects.filter(is_active=True)
    users = [name.removeprefix("user:") for name in names if name.startswith("user:")]
    groups = [name.partition(":")[2] for name in names if not name.startswith("user:")]
    found = [f"Nobody who can sign in is called {name}." for name in users if not active.filter(username=name).exists()]
    found += [f"Nobody who can sign in is in {name}." for name in groups if not active.filter(groups__name=name).exists()]
    needed = policy["quorum"] if isinstance(policy["quorum"], int) else sum(policy["quorum"].values())
    able = active.filter(Q(username__in=users) | Q(groups__name__in=groups)).distinct().count()
    if names and able < needed:
        found.append(f"{needed} must approve, and only {able} could; such a gate asks admins, too.")
    return found
