"""What an operator asks first, each number with the runs behind it."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Min, Q, Sum

from approvals.models import Gate, GateKind
from engine import health
from runs.clock import Now, database_now
from runs.models import Run
from runs.moves import UNFINISHED, Status

AGES = (  # of an open gate, in hours, and the query of its runs
    ("under 1 h", 0, 1, "waiting:<1h"),
    ("1 to 8 h", 1, 8, "waiting:1h..8h"),
    ("8 to 24 h", 8, 24, "waiting:8h..24h"),
    ("older", 24, 10**6, "waiting:>24h"),
)
STUCK = 5  # shown by name


@dataclass(frozen=True)
class Numbers:
    by_status: dict[str, int]
    waiting: list[tuple[str, int, str]]  # (age, gates, query)
    gates: int
    stuck: int
    stuck_runs: list[Run]
    failed_today: int
    started_today: int
    cost_today: Decimal
    next_gate: Gate | None  # that its policy decides next
    unknown: int  # effects of which people have to say whether they happened

    @property
    def in_flight(self) -> int:
        return sum(self.by_status.get(status, 0) for status in (Status.QUEUED, Status.RUNNING, Status.ROLLING_BACK))


def numbers() -> Numbers:
    now = database_now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    unfinished = Run.objects.unfinished().values_list("status").annotate(Count("pk"))
    ages = {
        f"from_{low}": Count(
            "pk", filter=Q(opened_at__gt=now - timedelta(hours=high), opened_at__lte=now - timedelta(hours=low))
        )
        for _, low, high, _ in AGES
    }
    open_gates = Gate.objects.open().aggregate(total=Count("pk"), unknown=Count("pk", filter=Q(kind=GateKind.OUTCOME)), **ages)
    stuck = Run.objects.stuck()
    count = stuck.count()
    of_today = Run.objects.filter(created_at__gte=today).aggregate(started=Count("pk"), cost=Sum("cost_usd"))
    return Numbers(
        by_status={str(status): number for status, number in unfinished},
        waiting=[(words, open_gates[f"from_{low}"], query) for words, low, _, query in AGES],
        gates=open_gates["total"],
        stuck=count,
        stuck_runs=list(stuck.for_list().order_by("step_started_at")[:STUCK]) if count else [],
        failed_today=Run.objects.filter(status=Status.FAILED, finished_at__gte=today).count(),
        started_today=of_today["started"],
        cost_today=of_today["cost"] or Decimal(0),
        next_gate=Gate.objects.open().filter(due_at__isnull=False).by_time_left().first(),
        unknown=open_gates["unknown"],
    )


@dataclass(frozen=True)
class Machinery:
    """Whether what is due is done. ``workers``: (busy, all) processes; ``due``: how many runs wait for one, since when."""

    checks: dict[str, Any]
    workers: tuple[int, int]
    due: int
    due_since: Any
    late: int


def machinery() -> Machinery:
    checks = health.parts()
    busy = Run.objects.filter(worker__isnull=False, status__in=UNFINISHED).values("worker").distinct().count()
    due = Run.objects.filter(status=Status.QUEUED, available_at__lte=Now()).aggregate(
        count=Count("pk"), since=Min("available_at")
    )
    processes = checks["workers"]["processes"]
    return Machinery(checks, (min(busy, processes), processes), due["count"], due["since"], Run.objects.late().count())
