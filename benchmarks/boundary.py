"""A step boundary against a bare INSERT and COMMIT of the same bytes, on the same server, in turn."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from benchmarks.figures import Figure, median, spread
from engine import advancing, lease
from engine.services import starting
from runs import bell
from runs.models import Run
from tests.stack import Stack

RUNS, STEPS, ROUNDS = 60, 5, 7


def measure(stack: Stack) -> list[Figure]:
    """Wall time per step (claim included, its share of five), then commits, fsyncs and WAL bytes per step.

    This process is the one worker: the stack's own hear no bell meanwhile, and its sweeper stands still.
    """
    with stack.frozen("sweep"), silent_bells(), own_lease():
        return _measure()


def _measure() -> list[Figure]:
    user = User.objects.get(username="bench")
    bare = _bare_connection()
    ours, plain = [], []
    carry_on(start(user, RUNS, STEPS))  # warm
    insert(bare, RUNS * STEPS)
    for _ in range(ROUNDS):
        runs = start(user, RUNS, STEPS)
        ours.append(timed(lambda runs=runs: carry_on(runs)) / (RUNS * STEPS))
        plain.append(timed(lambda: insert(bare, RUNS * STEPS)) / (RUNS * STEPS))
    bare.close()
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    return [
        Figure("boundary, 1 KB state", f"{median(ours) * 1e6:.0f} µs a step", f"{spread(ours, 1e6)} µs"),
        Figure("bare INSERT + COMMIT", f"{median(plain) * 1e6:.0f} µs", f"{spread(plain, 1e6)} µs"),
        Figure("ratio (aim below 4)", f"{median(ratios):.2f} ×", spread(ratios)),
        *counted(user),
    ]


@contextmanager
def silent_bells() -> Iterator[None]:
    ring, bell.ring = bell.ring, lambda run_id=None: True
    try:
        yield
    finally:
        bell.ring = ring


@contextmanager
def own_lease() -> Iterator[None]:
    """A lease that does not end this process with it, as a worker's does."""
    key, hold = secrets.randbits(63), lease.hold
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [key])
        lease.hold = lambda: key
        try:
            yield
        finally:
            lease.hold = hold


def counted(user: User) -> list[Figure]:
    """By PostgreSQL's own counters: the slope between runs of 5 and of 25 steps, and what is left for a run."""
    short, long = _cost_of(user, 5), _cost_of(user, 25)
    figures = []
    for name in ("commits", "fsyncs", "wal bytes"):
        slope = (long[name] - short[name]) / 20
        rest = short[name] - 5 * slope
        figures.append(Figure(f"{name} per step", f"{slope:.2f}", f"and {rest:.2f} more per run"))
    return figures


def start(user: User, count: int, steps: int) -> list[Run]:
    given = {"steps": steps}
    return [starting.start(workflow="bench-boundaries", input=given, by=user)[0] for _ in range(count)]


def carry_on(runs: list[Run]) -> None:
    for run in runs:
        assert advancing.advance(run.pk)


def insert(bare: psycopg.Connection[Any], count: int) -> None:
    row = b"x" * 1100
    for _ in range(count):
        bare.execute("INSERT INTO bench_bare (data) VALUES (%s)", [row], prepare=True)


def timed(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _cost_of(user: User, steps: int) -> dict[str, float]:
    runs = start(user, 40, steps)
    before = _counters()
    carry_on(runs)
    after = _counters()
    return {name: (after[name] - before[name]) / len(runs) for name in after}


def _counters() -> dict[str, float]:
    """Statistics are flushed with a delay; this backend's own at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT commits, fsyncs, wal FROM bench_counters()")
        commits, fsyncs, wal = cursor.fetchone()
    return {"commits": float(commits), "fsyncs": float(fsyncs), "wal bytes": float(wal)}


def _bare_connection() -> psycopg.Connection[Any]:
    bare: psycopg.Connection[Any] = psycopg.connect(settings.DATABASE_URL, autocommit=True)
    bare.execute("CREATE TABLE IF NOT EXISTS bench_bare (id bigserial PRIMARY KEY, data bytea)")
    bare.execute(
        """
        CREATE OR REPLACE FUNCTION bench_counters(OUT commits numeric, OUT fsyncs numeric, OUT wal numeric) AS $$
            SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
                   (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'),
                   (SELECT wal_bytes FROM pg_stat_wal)
        $$ LANGUAGE sql
        """
    )
    return bare
