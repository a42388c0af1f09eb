"""SIGKILL in the middle of step 3 of 5: how long until the next attempt begins on another worker, and what ran again."""

import os
import signal
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, quantile
from tests.stack import Stack

KILLS = {"pool child": 30, "whole worker": 10}
STEP = 0.6  # seconds that each step takes


def measure() -> list[Figure]:
    """A stack of its own with two workers, so that another one is alive."""
    stack = Stack(HOLDFAST_APPS="benchmarks", HOLDFAST_WORKERS="2", HOLDFAST_SLOTS="2", PYTHONPATH=".").start()
    try:
        with TemporaryDirectory() as folder:
            return [figure for what, times in KILLS.items() for figure in _kills(stack, Path(folder), what, times)]
    finally:
        stack.stop()


def _kills(stack: Stack, folder: Path, what: str, times: int) -> list[Figure]:
    took, again = [], Counter[str]()
    for number in range(times):
        path = folder / f"{what}-{number}"
        path.touch()
        given = {"path": str(path), "seconds": STEP}
        run = stack.api("alice").post("/api/runs", json={"workflow": "bench-recovery", "input": given}).json()["id"]
        _wait_for(path, "third 1")
        child = stack.worker_process(run)
        victim = child if what == "pool child" else stack.worker_of(child)
        killed = time.time()
        os.kill(victim, signal.SIGKILL)
        took.append(_wait_for(path, "third 2") - killed)
        assert stack.finish(run, stack.api("alice"))["status"] == "succeeded"
        again.update(line.split()[0] for line in path.read_text().splitlines() if line.split()[1] != "1")
        _until_all_live(stack)
    shown = ", ".join(f"{step} × {count}" for step, count in again.items())
    return [
        Figure(f"{what} killed, next attempt after, p50", f"{quantile(took, 0.5) * 1e3:.0f} ms", f"of {times}"),
        Figure(f"{what} killed, next attempt after, max", f"{max(took) * 1e3:.0f} ms", f"ran again: {shown}"),
    ]


def _wait_for(path: Path, mark: str) -> float:
    """When the attempt began, by the host's clock."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in path.read_text().splitlines():
            if line.startswith(mark + " "):
                return float(line.split()[2])
        time.sleep(0.002)
    raise AssertionError(f"{mark} did not come")


def _until_all_live(stack: Stack) -> None:
    """Both workers with both children hold their leases again."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = stack.api("alice").get("/readyz").json()["checks"].get("workers", {})
        if found.get("processes", 0) >= 4:
            return
        time.sleep(0.1)
    raise AssertionError("a worker did not come back")
