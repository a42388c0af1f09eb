"""A run's family: the run that the first fork came from, and every fork, as a tree."""

import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runs import hot, reading
from runs.models import Event, Kind, Run

LIMIT = 200

_ABOVE = """
WITH RECURSIVE above AS (
    SELECT id, forked_from_id, forked_at_seq FROM runs_run WHERE id = %(run)s
    UNION SELECT run.id, run.forked_from_id, run.forked_at_seq FROM runs_run AS run JOIN above ON run.id = above.forked_from_id
)
SELECT id, forked_from_id, forked_at_seq FROM above
"""
_FAMILY = """
WITH RECURSIVE below AS (
    SELECT id FROM runs_run WHERE id = %(root)s
    UNION SELECT run.id FROM runs_run AS run JOIN below ON run.forked_from_id = below.id
)
SELECT id FROM below WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
"""


@dataclass
class Relative:
    """A run with what its fork changed, and the forks that come from it."""

    run: Run
    forked: dict[str, Any] | None
    forks: list["Relative"] = field(default_factory=list)


class Above(NamedTuple):
    """A run, and where it was forked from; both are None of the one that the first fork came from."""

    id: uuid.UUID
    forked_from: uuid.UUID | None
    at_seq: int | None


def above(run_id: uuid.UUID) -> list[Above]:
    """The run and every run that it came from, in no order."""
    return [Above(*row) for row in hot.rows(_ABOVE, {"run": run_id})]


def page(run: Run, *, after: uuid.UUID | None = None, limit: int = LIMIT) -> tuple[uuid.UUID, list[Relative], uuid.UUID | None]:
    """The root, up to ``limit`` of the family in the order in which they were made, and where the next page begins."""
    root = next(one.id for one in above(run.pk) if one.forked_from is None)
    rows = hot.rows(_FAMILY, {"root": root, "after": after or uuid.UUID(int=0), "limit": limit + 1})
    ids = [row[0] for row in rows[:limit]]
    runs = Run.objects.for_list().in_bulk(ids)
    events = Event.objects.filter(run__in=ids, kind=Kind.FORKED)
    forked = {event.run_id: event.facts() for event in events}
    return root, [Relative(runs[one], forked.get(one)) for one in ids], ids[-1] if len(rows) > limit else None


def tree(run: Run) -> Relative:
    """The family as a tree; the oldest of a very large one."""
    root, relatives, _ = page(run)
    known = {one.run.pk: one for one in relatives}
    for one in relatives:
        above = known.get(one.run.forked_from_id) if one.run.forked_from_id is not None else None
        if above is not None:
            above.forks.append(one)
    return known[root]


def as_json(one: Relative) -> dict[str, Any]:
    """``{id, status, …, forked_from, changed, reason, by}``"""
    run = one.run
    shown = reading.run_as_json(run)
    names = ("id", "workflow", "version", "status", "step", "error", "usage", "created_at", "finished_at", "forked_from")
    forked = one.forked or {}
    return {
        **{name: shown[name] for name in names},
        "changed": forked.get("changed", {}),
        "effects": forked.get("effects", {}),
        "reason": forked.get("reason") or None,
        "by": run.created_by.get_username() if run.created_by else None,
    }
