"""Who may decide one gate, and why somebody may not. ``GateQuerySet.decidable_by`` says the same of many."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q

from approvals.models import ANY, Decision, Delegation, Gate, GateKind, GateStatus
from approvals.models.gate import names_of
from approvals.models.people import stood_in_for


@dataclass(frozen=True)
class Right:
    """A right to decide: whose it is, and for which of a quorum's groups a vote by it counts."""

    holder: User
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """The right that a person has at a gate, or why they have none, in words."""

    right: Right | None
    why_not: str = ""
    voted: bool = False  # the right is used up: their vote is in, or somebody's for them


def standing(gate: Gate, user: Any) -> Standing:
    """What ``user`` may do at the gate, as of now. Its status is another matter."""
    votes = [vote for vote in gate.decisions.all() if vote.stands]
    if any(vote.by_id == user.pk for vote in votes):
        return Standing(None, "Your vote is in already.", voted=True)
    found = list(_rights(gate, user))
    if found and not gate.allow_self and user.pk in gate.run.starters:
        what = "this run" if gate.run.created_by_id == user.pk else "the run that this one was forked from"
        return Standing(None, f"You started {what}, and its policy wants somebody else to decide.")
    if other := approved_elsewhere(gate, user):
        return Standing(None, f"You have approved “{other}” of this run, and its policy wants different people for the two.")
    used = {vote.holder_id: vote for vote in votes}
    why = f"This gate asks {gate.approvers_in_words()}; you are not one of them."
    for holder, passed_to in found:
        if holder.pk in used:
            why = f"{used[holder.pk].by_name} has voted for {'you' if holder.pk == user.pk else holder} already."
        elif passed_to:
            why = f"You passed this on to {passed_to}."
        elif not gate.allow_self and holder.pk in gate.run.starters:
            why = f"You stand in for {holder}, who started this run, and its policy wants somebody else to decide."
        else:
            return Standing(Right(holder, groups_of(gate, holder)))
    return Standing(None, why)


def why_no_bypass(gate: Gate, admin: Any) -> str:
    """Why an admin may not decide alone, past the approvers and the quorum; empty where they may."""
    if gate.kind != GateKind.APPROVAL or not gate.policy.get("allow_bypass", True):
        return "The policy of this gate does not let anybody past it, admins neither."
    if not gate.allow_self and admin.pk in gate.run.starters:
        return "You started this run; its policy wants somebody else to decide, and a bypass is no way around."
    if other := approved_elsewhere(gate, admin):
        return f"You have approved “{other}” of this run; the policy wants different people for the two."
    return ""


def _rights(gate: Gate, user: Any) -> "Iterator[tuple[Any, str]]":
    """The rights that the user could use: the holder of each, and to whom it was passed on; their own first."""
    given: Mapping[int, Delegation] = {
        one.holder_id: one for one in gate.delegations.filter(ended_at=None).select_related("holder", "receiver")
    }
    for person in (user, *stood_in_for(user)):
        if is_named(gate, person):
            passed = given.get(person.pk)
            if passed is None or person.pk == user.pk:
                yield person, passed.receiver.get_username() if passed else ""
        for one in given.values():
            if one.receiver_id == person.pk:
                yield one.holder, ""


def is_named(gate: Gate, user: Any) -> bool:
    """Whether the policy names the user, itself or by a group of theirs."""
    return user.get_username() in gate.approver_users or not set(names_of(user)).isdisjoint(gate.approver_groups)


def groups_of(gate: Gate, holder: Any) -> tuple[str, ...]:
    """For which of the quorum's groups the holder's vote counts. Who was named alone, or by an escalation, helps any."""
    quorum = gate.policy.get("quorum")
    if not isinstance(quorum, dict):
        return ()
    mine = set(names_of(holder))
    counted = tuple(name for name in quorum if name.partition(":")[2] in mine)
    others = mine & set(gate.approver_groups) - {name.partition(":")[2] for name in quorum}
    return (ANY,) if others or holder.get_username() in gate.approver_users or not counted else counted


def approved_elsewhere(gate: Gate, user: Any) -> str:
    """The key of another gate of the run that was approved by the user, or by their right, and that wants others here."""
    agreed = Decision.objects.agreeing().filter(Q(by=user) | Q(holder=user), gate__run=gate.run_id)
    others = agreed.exclude(gate=gate.pk).exclude(gate__status=GateStatus.WITHDRAWN)
    for key, distinct_from in others.values_list("gate__key", "gate__distinct_from"):
        if key in gate.distinct_from or gate.key in distinct_from:
            return str(key)
    return ""
