"""The pages an operator opens first, with ten thousand runs, over HTTP as a browser asks for them, beside a bare line."""

import gzip
import time

import httpx
from django.contrib.auth.models import User
from django.db import connection

from benchmarks.figures import Figure, memory, quantile
from benchmarks.gates import copy_runs
from engine.services import starting
from runs.models import Run
from tests.stack import Stack, processes_of

MANY = 10_000
LOOKS = 40
PAGES = {"runs list": "/runs/", "the same by API": "/api/runs", "typed query": "/runs/?query=status:succeeded+bench",
         "overview": "/", "a run's page": "/runs/{run}/"}  # fmt: skip


def measure(stack: Stack) -> list[Figure]:
    run = _many_runs()
    alice = httpx.Client(base_url=stack.url, cookies=stack.session("alice"), timeout=30)
    bare = _first_bytes(alice, "/healthz")
    figures = [Figure("a bare line: first byte p50", f"{quantile(bare, 0.5) * 1e3:.1f} ms", "")]
    for name, path in PAGES.items():
        times = _first_bytes(alice, path.format(run=run.pk))
        size = len(gzip.compress(alice.get(path.format(run=run.pk)).content)) / 1024
        ratio = quantile(times, 0.5) / quantile(bare, 0.5)
        detail = f"p95 {quantile(times, 0.95) * 1e3:.0f} ms; {ratio:.0f} × the line; {size:.0f} KB compressed"
        figures.append(Figure(f"{name}: first byte p50", f"{quantile(times, 0.5) * 1e3:.1f} ms", detail))
    web = next(pid for pid, command in processes_of(stack.folder).items() if "uvicorn" in command)
    return [*figures, Figure("web process", f"{memory(web, 'VmRSS'):.0f} MiB", f"after that, with {MANY:,} runs")]


def _many_runs() -> Run:
    user = User.objects.get(username="bench")
    run, _ = starting.start(workflow="bench-boundaries", input={"steps": 30}, by=user)
    while not Run.objects.get(pk=run.pk).is_final:
        time.sleep(0.05)
    copy_runs(run, MANY)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_run SET created_at = created_at - random() * interval '6 days' WHERE workflow = 'bench-boundaries'"
        )
        cursor.execute("ANALYZE")
    return run


def _first_bytes(client: httpx.Client, path: str) -> list[float]:
    """Seconds to the head of the answer, over a connection that stands."""
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        with client.stream("GET", path) as answer:
            times.append(time.perf_counter() - began)
            assert answer.status_code == 200
            answer.read()
    return times[3:]
