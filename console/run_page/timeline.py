"""What the timeline's page shows: a window of the journal, or only what was asked for, as rows."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F, Q

from console.run_page import waterfall
from console.run_page.rows import PEOPLE, Row
from console.run_page.waterfall import Waterfall
from runs import reading
from runs.clock import database_now
from runs.models import Kind, Run
from workflows import registry
from workflows.steps import Gate, Step

WINDOW = 200  # entries that a page opens with
AHEAD = 20  # of them before the one that was asked for
SLOW = 50  # rows
FAILURES = frozenset({Kind.ATTEMPT_FAILED, Kind.WORKER_LOST, Kind.VERIFIED, Kind.RETRIED})
FILTERS = {"": "All", "failed": "Failed", "gates": "Gates", "effects": "Effects", "slow": "Slowest"}


@dataclass
class Window:
    """``earlier``: the seq before which more can be read; ``later``: there is more behind."""

    rows: list[Row] = field(default_factory=list)
    earlier: int | None = None
    later: bool = False
    after: int = -1  # the last entry that it shows


def rows(run: Run, entries: list[dict[str, Any]]) -> list[Row]:
    return waterfall.rows_of(run, entries, steps_of(run))


def steps_of(run: Run) -> dict[str, Step]:
    workflow = registry.known(run.workflow, run.version)
    return workflow.all_steps if workflow is not None else {}


def window(run: Run, *, show: str = "", before: int | None = None, at: int | None = None) -> Window:
    """The newest part, the one before a ``seq``, or the one around it."""
    if show:
        return _filtered(run, show, before)
    if at is not None:
        entries = reading.journal(run, after=max(-1, at - AHEAD), limit=WINDOW)
    else:
        entries = reading.journal(run, before=before, newest_first=True, limit=WINDOW)[::-1]
    found = rows(run, entries) if entries or before is None else []
    earlier = reading.earlier(entries)
    last = entries[-1]["seq"] if entries else run.seq
    return Window(found, earlier, last < run.seq, last)


def parted(rows: list[Row]) -> dict[str, list[Row]]:
    """For templates: those that are closed, which stay as they are, and those that move on."""
    return {"rows": [row for row in rows if row.state != "open"], "open_rows": [row for row in rows if row.state == "open"]}


def now_ms(run: Run) -> float:
    """How long it has been there, or took: where the time axis ends."""
    return max(1.0, ((run.finished_at or database_now()) - run.created_at).total_seconds() * 1000)


def _filtered(run: Run, show: str, before: int | None) -> Window:
    steps = steps_of(run)
    entries = [row.as_entry() for row in _picked(run, show, steps, before)]
    found = Waterfall(run, steps, gaps=True).read(entries)
    for row in found.rows:
        if row.state == "open":
            row.state = "failed" if show == "failed" else "done"
            for bar in row.bars:
                bar.end = bar.start if bar.end is None and run.is_final else bar.end
    earlier = entries[0]["seq"] if len(entries) >= WINDOW else None
    return Window(found.rows, earlier, before is not None, run.seq)


def _picked(run: Run, show: str, steps: dict[str, Step], before: int | None) -> list[Any]:
    """The newest entries of that kind, in their order."""
    span = {} if before is None else {"seq__lt": before}
    kept = run.checkpoints.filter(**span).defer("keyframe", "digest", "content_hash")
    events = run.events.filter(**span)
    gates = _names(step for step in steps.values() if isinstance(step, Gate))
    effects = _names(step for step in steps.values() if step.is_effect)
    if show == "slow":
        slowest: list[Any] = list(kept.filter(started_at__isnull=False).order_by((F("at") - F("started_at")).desc())[:SLOW])
        return _of(run, sorted(slowest, key=_seq))
    if show == "failed":
        return _of(run, list(events.filter(kind__in=FAILURES).order_by("-seq")[:WINDOW])[::-1])
    chosen = {
        "gates": (Q(step__in=gates), Q(kind__in=PEOPLE)),
        "effects": (Q(step__in=effects), Q(step__in=effects) & ~Q(kind__in=waterfall.OF_THE_RUN)),
    }[show]
    parts = [rows.filter(q).order_by("-seq")[:WINDOW] for rows, q in zip((kept, events), chosen, strict=True)]
    merged = heapq.merge(*parts, key=_seq, reverse=True)
    return _of(run, [row for _, row in zip(range(WINDOW), merged, strict=False)][::-1])


def _seq(row: Any) -> int:
    return int(row.seq)


def _names(steps: Iterable[Step]) -> set[str]:
    return {name for step in steps for name in step.names}


def _of(run: Run, rows: list[Any]) -> list[Any]:
    for row in rows:
        row.run = run  # known already; each would ask for it
    return rows
