"""What stands in whose inbox."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from approvals.models import Gate, GateQuerySet, GateStatus
from approvals.models.gate import named, names_of
from runs.access import may

TABS = {
    "mine": "Mine",
    "groups": "My groups",
    "snoozed": "Snoozed",
    "escalated": "Escalated",
    "open": "All",
    "history": "History",
}
PAGE = 50
COUNTED = 99  # beyond that it is "99+"


@dataclass(frozen=True)
class Tab:
    name: str
    label: str
    count: int | None  # None: not counted

    @property
    def count_words(self) -> str:
        return "" if self.count is None else str(self.count) if self.count <= COUNTED else f"{COUNTED}+"


def gates(user: Any, tab: str, q: str = "") -> GateQuerySet:
    """The gates of one tab, in its order. ``q`` is searched in titles, workflows, steps and people."""
    visible = Gate.objects.visible_to(user)
    if tab == "mine":  # what one could decide now, and nobody else is on
        found = Gate.objects.decidable_by(user).awake_for(user).left_to(user)
    elif tab == "groups":  # what one's groups are asked, whoever is on it, and whether or not one may
        found = visible.open().filter(named(user))
    elif tab == "snoozed":
        found = visible.snoozed_by(user)
    elif tab == "escalated":
        found = visible.open().filter(level__gt=0)
        found = found if may(user, "operate") else found & Gate.objects.asking(user)
    elif tab == "open":
        found = visible.open()
    else:
        return _searched(visible.exclude(status=GateStatus.OPEN), q).order_by("-final_at", "id")
    return _searched(found, q).by_time_left()


def tab(user: Any, name: str) -> Tab:
    """A tab, with how many stand in it; history is not counted."""
    return Tab(name, TABS[name], None if name == "history" else gates(user, name).order_by()[: COUNTED + 1].count())


def tabs(user: Any) -> list[Tab]:
    """The tabs that the user has, one's own first."""
    names = [name for name in TABS if name != "open" or may(user, "see")]
    if not names_of(user):
        names.remove("groups")
    return [tab(user, name) for name in names]


def following(user: Any, after: Gate, tab: str, q: str = "") -> Gate | None:
    """The gate that opens by itself after one was decided: the next of one's own, by the inbox's order."""
    found = gates(user, "mine" if tab in ("history", "snoozed") else tab, q).decidable_by(user).awake_for(user)
    return found.exclude(pk=after.pk).first()


def _searched(found: GateQuerySet, q: str) -> GateQuerySet:
    q = q.replace("\0", "").strip()[:200]
    if not q:
        return found
    people = Q(claimed_by__username__icontains=q) | Q(outcome_by__icontains=q) | Q(run__created_by__username__icontains=q)
    about = Q(title__icontains=q) | Q(run__workflow__icontains=q) | Q(step__icontains=q) | Q(run__id__icontains=q)
    return found.filter(about | people)
