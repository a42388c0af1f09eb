"""The same fan-out as a Celery group with a chord, on the same Redis, with Redis as its result backend."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery, chord

URL = os.environ.get("CHORD_URL")
app = Celery("chord", broker=URL, backend=URL, set_as_current=False)  # Holdfast's own stays the current one
app.conf.update(task_default_queue="bench-chord", broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
WORKERS = 2


@app.task
def part(number: int) -> tuple[int, float]:
    return number, time.time()


@app.task
def join(parts: list[tuple[int, float]]) -> tuple[int, float, float]:
    """How many there were, when the last one was done, and when this began."""
    return len(parts), max(at for _, at in parts), time.time()


@contextmanager
def worker(url: str) -> Iterator[None]:
    """A worker of as many processes as Holdfast has in the same run."""
    app.conf.update(broker_url=url, result_backend=url)
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.chord", "worker", "-c", str(WORKERS), "-l", "ERROR"]
    process = subprocess.Popen([*command, "--without-gossip", "--without-mingle"], env={**os.environ, "CHORD_URL": url})
    try:
        fan_out(2)  # it is there
        yield
    finally:
        process.terminate()
        process.wait(20)


def fan_out(size: int) -> tuple[float, float]:
    """Parts per second, from the call to the last one's end; and seconds from there to the join's begin."""
    began = time.time()
    count, last, joined = chord((part.s(number) for number in range(size)), app=app)(join.s()).get(timeout=120)
    assert count == size
    return size / (last - began), joined - last
