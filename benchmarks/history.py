"""Histories: bytes per checkpoint, reading at any length, proving; LangGraph's PostgresSaver beside it in the same run."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth.models import User
from django.db import connection

from benchmarks import boundary, durable
from benchmarks.figures import Figure
from benchmarks.peers.measuring import message, payload
from checkpoints import inspect, key_history, store, verifying
from engine import advancing
from engine.services import starting
from runs import reading
from runs.models import Run
from tests.stack import ROOT, Stack
from workflows import codec

STEPS = 1000
READ = {"entries": "latest 50 entries", "latest": "latest state", "middle": "a state in the middle"}
LENGTHS = (10, 1000, 10_000)
TIMES = 50
TABLES = ("checkpoints_checkpoint", "checkpoints_content", "runs_event")


def measure(stack: Stack) -> list[Figure]:
    """This process writes the histories as a worker would; the pages are asked of the stack's web process."""
    python = durable.peers()
    durable.create(stack, "bench_history")
    with stack.frozen("sweep"), boundary.silent_bells(), boundary.own_lease():
        return [
            *_sizes(stack, python, "64 KB, one counter changes", "small", {"payload": payload(65536)}),
            *_sizes(stack, python, "1 KB appended a step", "grow", {"payload": payload(16), "grows": True}),
            *_reading(stack, python),
        ]


def _written(steps: int, **given: Any) -> Run:
    user = User.objects.get(username="bench")
    run, _ = starting.start(workflow="bench-history", input={"steps": steps, **given}, by=user)
    while Run.objects.values_list("status", flat=True).get(pk=run.pk) != "succeeded":
        assert advancing.advance(run.pk)
    return Run.objects.get(pk=run.pk)


def _sizes(stack: Stack, python: str, title: str, case: str, given: dict[str, Any]) -> list[Figure]:
    before = _size(TABLES)
    _written(STEPS, **given)
    ours = (_size(TABLES) - before) / STEPS
    peer = _peer(stack, python, case, STEPS)["bytes"]
    whole = _whole_states(given)
    detail = f"LangGraph {peer:,.0f}: {peer / ours:.1f} ×; the whole state each time {whole:,.0f}: {whole / ours:.0f} ×"
    return [Figure(f"{title}: bytes per checkpoint", f"{ours:,.0f}", detail)]


def _size(tables: tuple[str, ...]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
        cursor.execute(f"SELECT {' + '.join(f'pg_total_relation_size({name!r})' for name in tables)}")
        return int(cursor.fetchone()[0])


def _whole_states(given: dict[str, Any]) -> float:
    """Storing the state as jsonb after every step."""
    messages: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_states")
        cursor.execute("CREATE TABLE bench_states (run int, seq int, state jsonb, PRIMARY KEY (run, seq))")
        for number in range(STEPS):
            messages += [message(number)] if given.get("grows") else []
            state = codec.dumps({"payload": given["payload"], "n": number, "messages": messages}).decode()
            cursor.execute("INSERT INTO bench_states VALUES (1, %s, %s)", [number, state])
        size = _size(("bench_states",))
        cursor.execute("DROP TABLE bench_states")
    return size / STEPS


def _peer(stack: Stack, python: str, case: str, steps: int) -> dict[str, float]:
    command = [python, str(Path(__file__).parent / "peers" / "langgraph_history.py"), "--case", case, "--steps", str(steps),
               "--database", stack.database_url("bench_history")]  # fmt: skip
    environment = {**os.environ, **stack.environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _reading(stack: Stack, python: str) -> list[Figure]:
    figures: list[Figure] = []
    found: dict[int, dict[str, float]] = {}
    for steps in LENGTHS:
        run = _written(steps, payload=payload(1000))
        found[steps] = _times(run)
        peer = _peer(stack, python, "read", steps)
        for name, title in READ.items():
            detail = f"LangGraph {peer[name]:.2f} ms" + (" (with their states)" if name == "entries" else "")
            figures.append(Figure(f"{steps:,} checkpoints: {title}", f"{found[steps][name]:.2f} ms", detail))
        figures.append(Figure(f"{steps:,} checkpoints: the entries' queries", f"{_p50(_queries(run)):.2f} ms"))
    ratios = [found[10_000][name] / found[1000][name] for name in found[1000]]
    figures.append(Figure("10,000 against 1,000 (aim 1.5 ×)", f"{max(ratios):.2f} ×", "the worst of the three"))
    began = time.perf_counter()
    report = verifying.verify(run)
    rate = report.checkpoints / (time.perf_counter() - began)
    assert report.is_sound
    figures.append(Figure("verification", f"{rate:,.0f}/s", "checkpoints, digests and contents"))
    return [*figures, *_work(run), *_pages(stack, run)]


def _queries(run: Run) -> Callable[[], None]:
    """What the database does for the latest 50 entries, without making objects of them."""
    rows = (run.checkpoints.defer("keyframe", "digest", "content_hash"), run.events.all())
    statements = [one.order_by("-seq")[:50].query.sql_with_params() for one in rows]

    def ask() -> None:
        for statement, values in statements:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                cursor.fetchall()

    return ask


def _times(run: Run) -> dict[str, float]:
    middle = run.seq // 2
    return {
        "entries": _p50(lambda: reading.journal(run, newest_first=True, limit=50)),
        "latest": _p50(lambda: store.load(run.pk, run.seq)),
        "middle": _p50(lambda: store.load(run.pk, middle)),
    }


def _work(run: Run) -> list[Figure]:
    works: dict[str, Callable[[], object]] = {
        "diff of two states": lambda: [one.as_operation() for one in inspect.compare(run, 5, run, run.seq - 5)[2]],
        "history of a key, the first 50": lambda: key_history.changes(run, "n"),
        "history of a key that never changed": lambda: key_history.changes(run, "steps"),
    }
    return [Figure(f"10,000 checkpoints: {title}", f"{_p50(work, 10):.1f} ms") for title, work in works.items()]


def _pages(stack: Stack, run: Run) -> list[Figure]:
    """To the last byte, over HTTP."""
    headers = {"Cookie": _session()}
    paths = {"run page": "", "a checkpoint": f"checkpoints/{run.seq // 2}/", "compare": f"compare/?a=5&b={run.seq - 5}",
             "history of a key": "history/?key=n", "proof": "proof/"}  # fmt: skip
    figures = []
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        for name, path in paths.items():
            took = _p50(lambda path=path: client.get(f"/runs/{run.pk}/{path}").raise_for_status(), 10)
            figures.append(Figure(f"10,000 checkpoints: page, {name}", f"{took:.0f} ms"))
    return figures


def _session() -> str:
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    user, session = User.objects.get(username="bench"), SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


def _p50(act: Callable[[], object], times: int = TIMES) -> float:
    """Milliseconds."""
    act()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return statistics.median(found) * 1000
