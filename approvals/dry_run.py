"""What would have happened to gates of the past under another policy: their decisions are replayed, with its rules and clock.

Who is in which group is looked up as it is now.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q

from approvals.models import AGREED, ANY, Decision, Gate, GateKind, GateStatus, Verdict
from approvals.services import tallying, timing
from approvals.services.opening import split
from runs.access import ROLES

LAST = 200


@dataclass(frozen=True)
class Outcome:
    """How a gate ends. ``missing``: votes that would still be wanted; ``at`` is None where it would be open still."""

    verdict: str
    by: str = ""
    at: datetime | None = None
    missing: int = 0

    def in_words(self) -> str:
        if self.verdict == "open":
            return f"waits for {self.missing} more"
        return f"{self.verdict} by {self.by}"


@dataclass(frozen=True)
class Replayed:
    gate: Gate
    was: Outcome
    would: Outcome
    turned_away: Sequence[str]  # who decided, and could not have

    @property
    def is_same(self) -> bool:
        return (self.was.verdict, self.was.by) == (self.would.verdict, self.would.by)


@dataclass(frozen=True)
class DryRun:
    gates: Sequence[Replayed]

    @property
    def different(self) -> list[Replayed]:
        return [one for one in self.gates if not one.is_same]

    def count(self) -> list[tuple[str, int]]:
        """How many would have come to which end, most first."""
        found = Counter("the same" if one.is_same else one.would.in_words().partition(" by ")[0] for one in self.gates)
        return found.most_common()


def of(workflow: str, name: str, policy: Mapping[str, Any]) -> DryRun:
    """The last 200 gates that were decided under the workflow's policy of that name."""
    named = Q(policy__name=name) | Q(policy__name="", key=name) | Q(policy__name=None, key=name)
    decided = Gate.objects.filter(named, run__workflow=workflow, kind=GateKind.APPROVAL, status=GateStatus.DECIDED)
    rows = decided.filter(carried_from=None).select_related("run").prefetch_related("decisions__by", "decisions__holder")
    gates = list(rows.order_by("-final_at")[:LAST])
    voters = [vote for gate in gates for vote in gate.decisions.all()]
    everybody = {pk for vote in voters for pk in (vote.by_id, vote.holder_id) if pk is not None}
    past = Past(_members(everybody), _agreed([gate.run_id for gate in gates], policy.get("distinct_from", ())))
    return DryRun([_replayed(gate, policy, past) for gate in gates])


@dataclass(frozen=True)
class Past:
    """What a replay asks beside the gate: who is in which groups, and who approved a gate of a run that wants other people."""

    members: Mapping[int, set[str]]
    agreed: set[tuple[Any, int]]


def _agreed(runs: Sequence[Any], keys: Sequence[str]) -> set[tuple[Any, int]]:
    found = Decision.objects.agreeing().filter(gate__run__in=runs, gate__key__in=list(keys))
    return {(run, by) for run, by in found.values_list("gate__run", "by") if by is not None}


def _members(ids: set[int]) -> dict[int, set[str]]:
    """The groups of each person; a superuser has all roles."""
    people = User.objects.filter(pk__in=ids).prefetch_related("groups")
    return {one.pk: {group.name for group in one.groups.all()} | (set(ROLES) if one.is_superuser else set()) for one in people}


def _replayed(gate: Gate, policy: Mapping[str, Any], past: Past) -> Replayed:
    was = Outcome(gate.outcome_verdict, gate.outcome_by, gate.final_at)
    return Replayed(gate, was, *_Replay(gate, policy, past).run())


class _Replay:
    def __init__(self, gate: Gate, policy: Mapping[str, Any], past: Past) -> None:
        self.gate, self.policy, self.past = gate, policy, past
        self.users, self.groups = split(policy["approvers"] if policy["approvers"] is not None else gate.policy["approvers"])
        self.choice = policy["on_timeout"]
        self.due = timing.clock(policy, gate.opened_at, policy["timeout"])["due_at"]
        self.votes: dict[int, list[str]] = {}
        self.vetoes = 0

    def run(self) -> tuple[Outcome, list[str]]:
        turned_away: list[str] = []
        for one in sorted(self.gate.decisions.all(), key=lambda decision: decision.at):
            if one.by is None or (one.voided_at is not None and one.voided_by_id is None):  # the policy's, or taken back
                continue
            if (ended := self._timed_out(one.at)) is not None:
                return ended, turned_away
            if not self._may(one):
                turned_away.append(one.by_name)
            elif (settled := self._take(one)) is not None:
                return settled, turned_away
        return self._timed_out(self.gate.final_at) or self._left_open(), turned_away

    def _timed_out(self, until: datetime | None) -> Outcome | None:
        """What the clock would have done by then."""
        while self.due is not None and until is not None and self.due <= until:
            if not isinstance(self.choice, Mapping):
                if self.choice == "keep":
                    self.due = None
                    return None
                return Outcome(str(self.choice), "policy", self.due)
            users, groups = split(self.choice["escalate"])
            self.users, self.groups = [*self.users, *users], [*self.groups, *groups]
            self.due, self.choice = timing.after(self.policy, self.due, self.choice["timeout"]), self.choice["then"]
        return None

    def _may(self, one: Decision) -> bool:
        if one.bypass:
            return bool(self.policy.get("allow_bypass", True))
        if not self.policy["allow_self"] and one.by_id in self.gate.run.starters:
            return False
        if one.verdict in AGREED and (self.gate.run_id, one.by_id) in self.past.agreed:
            return False
        if one.verdict in self.policy.get("comment", ()) and not one.comment.strip():
            return False
        name = one.acts_for or one.by_name
        return name in self.users or not self._groups_of(one).isdisjoint(self.groups)

    def _groups_of(self, one: Decision) -> set[str]:
        """Of whoever's right was used."""
        return self.past.members.get(one.holder_id or one.by_id or 0, set())

    def _take(self, one: Decision) -> Outcome | None:
        assert one.by_id is not None
        if one.bypass or one.verdict not in (*AGREED, Verdict.REJECT):
            return Outcome(one.verdict, one.by_name, one.at)
        if one.verdict == Verdict.REJECT:
            self.vetoes += 1
            return Outcome(one.verdict, one.by_name, one.at) if self.vetoes >= self.policy.get("veto", 1) else None
        if one.verdict == Verdict.EDIT:
            self.votes.clear()
        self.votes[one.by_id] = self._groups(one)
        return Outcome(one.verdict, one.by_name, one.at) if self._tally().is_met else None

    def _groups(self, one: Decision) -> list[str]:
        quorum = self.policy["quorum"]
        if not isinstance(quorum, Mapping):
            return []
        mine = self._groups_of(one)
        return [name for name in quorum if name.partition(":")[2] in mine] or [ANY]

    def _tally(self) -> tallying.Tally:
        return tallying.count(self.policy["quorum"], list(self.votes.values()), self.vetoes)

    def _left_open(self) -> Outcome:
        votes = self._tally()
        return Outcome("open", missing=votes.needed - votes.got)
