"""Ten thousand gates: all due within one minute for one sweeper, while the workers are busy; and all open in one inbox."""

import time
from itertools import pairwise
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.models import Gate
from benchmarks.figures import Figure, quantile
from engine.services import starting
from runs.models import Run

MANY = 10_000
MINUTE = 60.0
BUSY, STEPS = 30, 4000  # runs that keep the workers busy meanwhile, and their steps
LOOKS = 40

_COPY_RUNS = """
INSERT INTO runs_run SELECT (jsonb_populate_record(run, jsonb_build_object('id', gen_random_uuid(), 'idempotency_key', NULL))).*
FROM runs_run AS run, generate_series(1, %s) WHERE run.id = %s RETURNING id
"""
_COPY_GATES = """
INSERT INTO approvals_gate SELECT (jsonb_populate_record(gate, jsonb_build_object(
    'id', gen_random_uuid(), 'run_id', copied.id, 'due_at', {due}, 'on_timeout', 'reject'::text
))).* FROM approvals_gate AS gate, unnest(%s::uuid[]) WITH ORDINALITY AS copied(id, number) WHERE gate.id = %s
"""


def measure() -> list[Figure]:
    return [*_clock(), *_inbox()]


def _clock() -> list[Figure]:
    user = User.objects.get(username="bench")
    for _ in range(BUSY):
        starting.start(workflow="bench-boundaries", input={"steps": STEPS}, by=user)
    _copies(f"holdfast_now() + interval '5 s' + number * interval '{MINUTE / MANY} s'")
    gates = Gate.objects.filter(due_at__isnull=False, on_timeout="reject", step="gate")
    while left := gates.filter(status="open").count():
        time.sleep(1 if left > 100 else 0.2)
    found = gates.values_list("due_at", "final_at").order_by("final_at")
    rows = [(due, final) for due, final in found if due is not None and final is not None]
    lags = [(final - due).total_seconds() for due, final in rows]
    early = sum(lag < 0 for lag in lags)
    disorder = max((before[0] - after[0]).total_seconds() for before, after in pairwise(rows))
    busy = Run.objects.filter(workflow="bench-boundaries", input__steps=STEPS)
    done, open_ = busy.filter(status="succeeded").count(), busy.exclude(status="succeeded").count()
    detail = f"max {max(lags):.2f} s; {early} early; {len(lags)} fired once; at most {max(0.0, disorder):.2f} s out of order"
    return [
        Figure("10,000 gates in a minute: lag p99", f"{quantile(lags, 0.99):.2f} s", detail),
        Figure(
            "  lag p50", f"{quantile(lags, 0.5):.2f} s", f"meanwhile {done} busy runs of {STEPS} steps done, {open_} not yet"
        ),
    ]


def _inbox() -> list[Figure]:
    client = Client()
    client.force_login(User.objects.get(username="bench"))
    few = _looked_at(client)
    _copies("NULL")
    return [_figure("inbox, few open gates", few), _figure(f"inbox, {MANY:,} open gates", _looked_at(client))]


def _looked_at(client: Client) -> tuple[list[float], int, int]:
    """Seconds that the page takes, its queries, and how many gates are open."""
    times: list[float] = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        assert client.get("/gates/", headers={"host": "127.0.0.1"}).status_code == 200
        times.append(time.perf_counter() - began)
    with CaptureQueriesContext(connection) as queries:
        client.get("/gates/", headers={"host": "127.0.0.1"})
    return times, len(queries), Gate.objects.open().count()


def _figure(name: str, looked: tuple[list[float], int, int]) -> Figure:
    times, queries, count = looked
    detail = f"p50 {quantile(times, 0.5) * 1e3:.0f} ms; {queries} queries; {count:,} open; first gate in full beside the list"
    return Figure(f"{name}: p95", f"{quantile(times, 0.95) * 1e3:.0f} ms", detail)


def copy_runs(run: Run, many: int) -> list[Any]:
    """So many rows like this one; their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_COPY_RUNS, [many, run.pk])
        return [row[0] for row in cursor.fetchall()]


def _copies(due: str) -> None:
    """As many runs that wait at a gate as one that really does."""
    user = User.objects.get(username="bench")
    run, _ = starting.start(workflow="bench-deciding", input={}, by=user)
    while Run.objects.values_list("status", flat=True).get(pk=run.pk) != "waiting":
        time.sleep(0.05)
    gate = Gate.objects.get(run=run)
    ids = copy_runs(run, MANY)
    with connection.cursor() as cursor:
        cursor.execute(_COPY_GATES.format(due=due), [ids, gate.pk])
        cursor.execute("ANALYZE")
