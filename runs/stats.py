"""The numbers that an operator asks for first."""

import copy
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDay

from runs.clock import Now
from runs.models import Run, RunQuerySet
from runs.moves import Status

AGES = (("1h", 3600), ("8h", 8 * 3600), ("24h", 24 * 3600))


def counts(runs: RunQuerySet) -> dict[str, Any]:
    """Counts by status, waiting by age, in flight, stuck, due and not taken (``late``), and today's failures and cost."""
    by_status = dict(runs.values_list("status").annotate(number=Count("pk")))
    today = runs.filter(updated_at__gte=TruncDay(Now()))
    sums = today.aggregate(failed=Count("pk", filter=Q(status=Status.FAILED)), cost=Sum("cost_usd"))
    return {
        "by_status": {str(status): by_status.get(status, 0) for status in Status},
        "in_flight": by_status.get(Status.RUNNING, 0) + by_status.get(Status.QUEUED, 0),
        "waiting": {"total": by_status.get(Status.WAITING, 0), "by_age": _ages(runs)},
        "stuck": runs.stuck().count(),
        "late": runs.late().count(),
        "failed_today": sums["failed"],
        "cost_today_usd": float(sums["cost"] or 0),
    }


NOTHING: dict[str, Any] = {
    "runs": 0,
    "by_status": {},
    "usage": {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0},
    "saved": {"tokens": 0, "cost_usd": 0, "seconds": 0.0},
}


def totals_by_workflow(**narrowed: Any) -> dict[str, dict[str, Any]]:
    """Per workflow its runs by status, what they used, and what resuming saved them. One query."""
    sums = {name: Sum(name) for name in ("input_tokens", "output_tokens", "cost_usd")}
    saved = {name: Sum(name) for name in ("saved_tokens", "saved_cost_usd", "saved_seconds")}
    rows: Any = Run.objects.filter(**narrowed).values("workflow", "status").annotate(number=Count("pk"), **sums, **saved)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = found.setdefault(row["workflow"], copy.deepcopy(NOTHING))
        total["runs"] += row["number"]
        total["by_status"][row["status"]] = row["number"]
        for name in sums:
            total["usage"][name] += row[name]
        for name in total["saved"]:
            total["saved"][name] += row[f"saved_{name}"]
    return found


def _ages(runs: RunQuerySet) -> dict[str, int]:
    waiting = runs.filter(status=Status.WAITING).annotate(age=Now() - F("updated_at"))
    ages = {f"under_{name}": waiting.filter(age__lt=timedelta(seconds=length)).count() for name, length in AGES}
    return {**ages, "older": waiting.filter(age__gte=timedelta(seconds=AGES[-1][1])).count()}
