"""Are the approvals worth the wait? How long people take, what they change, and what they wave through."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any

from django.db.models import Prefetch

from approvals.models import AGREED, Decision, Gate, GateKind, GateStatus, Verdict
from runs.clock import database_now

GATES = 5000  # the latest that are counted
STAMPED = 5.0  # seconds: who approves sooner than that has hardly read
ENOUGH = 20  # decisions from which on a share says something
RAISE, LOWER = 0.95, 0.5  # shares approved unchanged from which on a threshold looks too low, or too high
BUCKETS = (5, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 3 * 86_400)  # seconds; the last one is open
REASONS = 20


@dataclass
class Group:
    """What is counted of the gates of one kind, or of those that asked one group."""

    name: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)  # from being opened to the decision, where a person made it
    count: Counter[str] = field(default_factory=Counter)  # unchanged, edited, rejected, answered, timed out
    stamped: int = 0
    reasons: list[tuple[Gate, str, str]] = field(default_factory=list)  # gate, who rejected, why

    @property
    def total(self) -> int:
        return self.count.total()

    @property
    def by_people(self) -> int:
        return self.total - self.count["timed out"]

    @property
    def p50(self) -> float | None:
        return percentile(self.seconds, 50)

    @property
    def p95(self) -> float | None:
        return percentile(self.seconds, 95)

    @property
    def unchanged_share(self) -> float:
        return self.count["unchanged"] / self.by_people if self.by_people else 0.0

    @property
    def stamped_share(self) -> float:
        """Of those that were approved unchanged."""
        return self.stamped / self.count["unchanged"] if self.count["unchanged"] else 0.0

    @property
    def is_enough(self) -> bool:
        """Whether a share says something."""
        return self.by_people >= ENOUGH

    @property
    def hint(self) -> str:
        """What the numbers suggest; empty where there are too few, or they suggest nothing."""
        if not self.is_enough:
            return ""
        if self.unchanged_share >= RAISE:
            return "Nearly all pass unchanged: ask less often. Raise the threshold of “when”, or lower the quorum."
        if self.unchanged_share <= LOWER:
            return "Half or more are changed or refused: people catch much here. Ask earlier, or lower the threshold."
        return ""

    def bars(self) -> list[tuple[str, int, float]]:
        """The histogram of ``seconds``: words, how many, and their height from 0 to 1."""
        found = [0] * (len(BUCKETS) + 1)
        for one in self.seconds:
            found[next((place for place, most in enumerate(BUCKETS) if one < most), len(BUCKETS))] += 1
        names = ["under 5 s", "to 1 m", "to 5 m", "to 15 m", "to 1 h", "to 4 h", "to 1 d", "to 3 d", "longer"]
        return [(name, count, count / max(found) if max(found) else 0.0) for name, count in zip(names, found, strict=True)]


@dataclass
class Person:
    """One person's share of the work."""

    name: str
    decisions: int = 0
    approved: int = 0
    stamped: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float | None:
        return percentile(self.seconds, 50)

    @property
    def stamped_share(self) -> float:
        return self.stamped / self.approved if self.approved else 0.0


@dataclass
class Insight:
    since: datetime
    gates: list[Group]
    groups: list[Group]
    people: list[Person]
    every: Group
    is_cut: bool  # there were more gates than are counted


def of(user: Any, days: int) -> Insight:
    """What the gates that the user may see, decided in so many days, say."""
    since = database_now() - timedelta(days=days)
    decisions = Prefetch("decisions", Decision.objects.standing())
    decided = Gate.objects.visible_to(user).filter(
        status=GateStatus.DECIDED, kind=GateKind.APPROVAL, carried_from=None, final_at__gte=since
    )  # fmt: skip
    every, by_gate, by_group, people = Group(("all",)), dict[Any, Group](), dict[Any, Group](), dict[str, Person]()
    for gate in decided.select_related("run").prefetch_related(decisions).order_by("-final_at")[:GATES]:
        groups = [every, by_gate.setdefault((gate.run.workflow, gate.key), Group((gate.run.workflow, gate.key)))]
        groups += [by_group.setdefault(name, Group((name,))) for name in gate.approver_groups or gate.approver_users]
        votes = list(gate.decisions.all())
        for group in groups:
            _count(group, gate, votes)
        for vote in votes:
            if vote.by_id is not None:
                _count_person(people.setdefault(vote.by_name, Person(vote.by_name)), gate, vote)
    busiest = sorted(people.values(), key=lambda one: -one.decisions)
    return Insight(since, _largest(by_gate.values()), _largest(by_group.values()), busiest, every, every.total >= GATES)


def _count(group: Group, gate: Gate, votes: Sequence[Decision]) -> None:
    last = votes[-1] if votes else None
    if last is None or last.by_id is None:
        group.count["timed out"] += 1
        return
    group.seconds.append((last.at - gate.opened_at).total_seconds())
    if gate.outcome_verdict in AGREED:
        edited = any(vote.verdict == Verdict.EDIT for vote in votes)
        group.count["edited" if edited else "unchanged"] += 1
        group.stamped += not edited and is_stamped(gate, last)
    elif gate.outcome_verdict == Verdict.REJECT:
        group.count["rejected"] += 1
        if last.comment and len(group.reasons) < REASONS:
            group.reasons.append((gate, last.by_name, last.comment))
    else:
        group.count["answered"] += 1


def _count_person(person: Person, gate: Gate, vote: Decision) -> None:
    person.decisions += 1
    person.seconds.append((vote.at - gate.opened_at).total_seconds())
    if vote.verdict == Verdict.APPROVE:
        person.approved += 1
        person.stamped += is_stamped(gate, vote)


def is_stamped(gate: Gate, vote: Decision) -> bool:
    """Approved as it was, less than five seconds after it was looked at; where nobody knows when, after it was opened."""
    looked = vote.looked_for_s if vote.looked_for_s is not None else (vote.at - gate.opened_at).total_seconds()
    return vote.verdict == Verdict.APPROVE and looked < STAMPED


def percentile(values: Sequence[float], rank: int) -> float | None:
    """By linear interpolation between the closest ranks."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=100, method="inclusive")[rank - 1]


def _largest(groups: Any) -> list[Group]:
    return sorted(groups, key=lambda one: (-one.total, one.name))
