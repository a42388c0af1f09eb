"""What Prometheus reads at /metrics: counters that every process of this host keeps, and what the database says now."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from engine import health
from engine.claim import DUE
from runs.moves import Status

log = logging.getLogger("holdfast.metrics")
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
ATTEMPTS = Counter("holdfast_attempts_total", "Attempts that have ended, by how", ["workflow", "step", "outcome"])
DURATION = Histogram("holdfast_attempt_seconds", "How long an attempt took", ["workflow", "step"], buckets=SECONDS)
STEPS = Counter("holdfast_steps_total", "Steps whose boundary was committed", ["workflow", "step"])
LEASE_LOSSES = Counter("holdfast_lease_losses_total", "Runs taken over from a worker that was lost")

_RUNS = "SELECT workflow, status, count(*) FROM runs_run GROUP BY workflow, status"
_GATES = """
SELECT kind, count(*), extract(epoch FROM max(clock_timestamp() - opened_at)) FROM approvals_gate
WHERE status = 'open' GROUP BY kind
"""
_QUEUE = f"SELECT count(*), coalesce(extract(epoch FROM max(holdfast_now() - available_at)), 0) FROM runs_run WHERE {DUE}"


class Database:
    """Gauges that are asked of PostgreSQL when they are read; without it, only that it is away."""

    def collect(self) -> Iterator[Any]:
        up = GaugeMetricFamily("holdfast_database_up", "1: PostgreSQL answers")
        try:
            found = list(self._gauges())
        except DatabaseError:
            found = []
        up.add_metric([], 1 if found else 0)
        yield from (up, *found)

    def _gauges(self) -> Iterator[Any]:
        runs = GaugeMetricFamily("holdfast_runs", "Runs by status", labels=["workflow", "status"])
        for workflow, status, number in _rows(_RUNS):
            runs.add_metric([workflow, str(Status(status))], number)
        gates = GaugeMetricFamily("holdfast_open_gates", "Gates that wait for people", labels=["kind"])
        ages = GaugeMetricFamily("holdfast_gate_age_seconds", "Age of the oldest open gate", labels=["kind"])
        for kind, number, age in _rows(_GATES):
            gates.add_metric([kind], number)
            ages.add_metric([kind], float(age))
        due = GaugeMetricFamily("holdfast_queue_due", "Runs that are due and in nobody's hands")
        lag = GaugeMetricFamily("holdfast_queue_lag_seconds", "For how long the oldest of them has been due")
        for number, seconds in _rows(_QUEUE):
            due.add_metric([], number)
            lag.add_metric([], float(seconds))
        sweeper = GaugeMetricFamily("holdfast_sweeper_lag_seconds", "Since the sweeper's last sign of life")
        if (seconds := health.sweeper_lag()) is not None:
            sweeper.add_metric([], seconds)
        yield from (runs, gates, ages, due, lag, sweeper)


def exposition() -> bytes:
    """Everything, in Prometheus' text format."""
    registry = CollectorRegistry()
    if Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_dir():
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(Database())
    return generate_latest(registry)


def attempt_ended(workflow: str, step: str, outcome: str, seconds: float) -> None:
    """Count it; a folder that is gone or full costs the number, never the run."""
    try:
        ATTEMPTS.labels(workflow, step, outcome).inc()
        DURATION.labels(workflow, step).observe(seconds)
        if outcome == "done":
            STEPS.labels(workflow, step).inc()
    except OSError as error:
        log.warning("an attempt is not counted: %s", error)


def count_lease_loss() -> None:
    with suppress(OSError):
        LEASE_LOSSES.inc()


def _rows(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
