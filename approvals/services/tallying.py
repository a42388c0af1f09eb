"""Counting votes against a policy's quorum."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from approvals.models import ANY, Decision, Gate


@dataclass(frozen=True)
class Tally:
    """How the votes of a gate stand. ``groups``: by group of the quorum, how many it needs and has."""

    needed: int
    got: int
    vetoes: int
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_met(self) -> bool:
        return self.got >= self.needed

    def in_words(self) -> str:
        """``1 of 2``; by group ``finance 1 of 1, legal 0 of 2``."""
        if not self.groups:
            return f"{self.got} of {self.needed}"
        return ", ".join(f"{name.partition(':')[2]} {got} of {needed}" for name, (needed, got) in self.groups.items())


def tally(gate: Gate, decisions: Iterable[Decision] | None = None) -> Tally:
    """Of the gate's decisions that stand, or of these."""
    found = list(gate.decisions.all() if decisions is None else decisions)
    agreeing = [list(one.groups) for one in found if one.agrees]
    quorum = gate.policy.get("quorum", gate.quorum)
    if isinstance(quorum, Mapping):  # jsonb keeps lists in order, and not keys
        quorum = {name: quorum[name] for name in gate.policy["approvers"] if name in quorum}
    return count(quorum, agreeing, sum(one.rejects for one in found))


def count(quorum: Any, agreeing: list[list[str]], vetoes: int) -> Tally:
    """``agreeing``: of each vote, for which groups it counts (or ANY). One person fills one place of one group."""
    if not isinstance(quorum, Mapping):
        return Tally(quorum, len(agreeing), vetoes)
    places = [name for name, needed in quorum.items() for _ in range(needed)]
    taken: dict[int, int] = {}  # place → vote
    for vote in range(len(agreeing)):
        _seat(vote, places, agreeing, taken, set())
    filled = [places[place] for place in taken]
    return Tally(len(places), len(taken), vetoes, {name: (needed, filled.count(name)) for name, needed in quorum.items()})


def _seat(vote: int, places: list[str], agreeing: list[list[str]], taken: dict[int, int], tried: set[int]) -> bool:
    """Find the vote a place, moving others to another of theirs where need be (augmenting paths of a bipartite matching)."""
    for place, name in enumerate(places):
        if place in tried or (name not in agreeing[vote] and ANY not in agreeing[vote]):
            continue
        tried.add(place)
        if place not in taken or _seat(taken[place], places, agreeing, taken, tried):
            taken[place] = vote
            return True
    return False
