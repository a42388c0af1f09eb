"""Reading the branches of a run's fan-outs."""

from datetime import timedelta
from typing import Any

from django.db.models import Count

from runs.models import Branch, FanOut, Run
from runs.moves import BranchStatus
from runs.words import in_short
from workflows import masking, registry

PAGE = 50


def fan_out_of(run: Run, seq: int | None = None) -> FanOut | None:
    """The fan-out that the run's journal has at ``seq``, or its last one."""
    found = run.fan_outs.order_by("-seq")
    return (found if seq is None else found.filter(seq=seq)).first()


def page(fan_out: FanOut, *, status: str = "", after: int = -1, limit: int = PAGE) -> tuple[list[Branch], int | None]:
    """Branches by index, from the one behind ``after``; and the ``after`` of the next page."""
    rows = fan_out.branches.filter(index__gt=after, **({"status": status} if status in BranchStatus.values else {}))
    found = list(rows.order_by("index")[: limit + 1])
    return found[:limit], found[limit - 1].index if len(found) > limit else None


def count(runs: list[Run]) -> list[Run]:
    """The same runs, each knowing its ``parts``: one query for all of them that have any."""
    totals = {run.fan_out.pk: run.fan_out.total for run in runs if run.fan_out is not None}
    found: dict[int, dict[str, int]] = {
        pk: {"of": total, **dict.fromkeys(map(str, BranchStatus), 0)} for pk, total in totals.items()
    }
    branches = Branch.objects.filter(fan_out__in=totals).values_list("fan_out", "status").annotate(Count("pk"))
    for pk, status, number in branches if totals else ():
        found[pk][status] = number
    for run in runs:
        run.parts = found.get(run.fan_out_id) if run.fan_out_id is not None else None
    return runs


def as_json(branch: Branch, run: Run, fan_out: FanOut) -> dict[str, Any]:
    """A branch as lists show it: what its steps changed in short, secrets masked; never a state."""
    is_open = branch.status == BranchStatus.QUEUED and not run.is_final
    put_off = is_open and branch.available_at > branch.updated_at + timedelta(seconds=1)
    took = branch.finished_at - branch.started_at if branch.finished_at and branch.started_at else None
    return {
        "fan_out": fan_out.seq,
        "index": branch.index,
        "arg": branch.arg,
        "status": branch.status,
        "step": branch.step,
        "attempt": branch.attempt,
        "error": branch.error,
        "waits_for": branch.signal_name if is_open and branch.signal_name else None,
        "put_off_until": branch.available_at if put_off and not branch.signal_name else None,
        "steps": [done["step"] for done in branch.done],
        "changed": _changed(branch, run),
        "usage": {
            "input_tokens": branch.input_tokens,
            "output_tokens": branch.output_tokens,
            "cost_usd": float(branch.cost_usd),
        },
        "started_at": branch.started_at,
        "finished_at": branch.finished_at,
        "duration_ms": None if took is None else round(took.total_seconds() * 1000, 3),
    }


def _changed(branch: Branch, run: Run) -> dict[str, Any]:
    secret = masking.secret_fields(registry.schema(run.workflow, run.version))
    shown: dict[str, Any] = {}
    for done in branch.done:
        for name, value in {**done.get("set", {}), **done.get("join", {})}.items():
            added = {"added": len(value)} if isinstance(value, list) and name in done.get("join", {}) else in_short(value)
            shown[name] = {"to": masking.MASK} if name in secret else added
    return shown
