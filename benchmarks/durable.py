"""Durable steps per second, side by side: Holdfast, LangGraph with PostgresSaver, DBOS, and the bare commit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.figures import Figure, median, spread
from tests.stack import ROOT, Stack

PEERS = Path(__file__).parent / "peers"
VENV = ROOT / ".venv-peers"
CASES = {"1 KB": (1024, "rewrite", 60), "64 KB rewritten": (65536, "rewrite", 20), "64 KB, small change": (65536, "small", 20)}
ROUNDS = 3


def measure(stack: Stack) -> list[Figure]:
    """Each figure is the median of rounds in which the four take turns; ratios are within a round."""
    python = peers()
    for name in ("langgraph", "dbos"):
        create(stack, f"bench_{name}")
    figures: list[Figure] = []
    with stack.frozen("sweep"), stack.frozen("worker-"):
        for title, case in CASES.items():
            figures += _compare(stack, python, title, case, processes=1)
        figures += _compare(stack, python, "1 KB, 2 processes", CASES["1 KB"], processes=2)
    return figures


def _compare(stack: Stack, python: str, title: str, case: tuple[int, str, int], *, processes: int) -> list[Figure]:
    size, change, runs = case
    options = ["--size", str(size), "--change", change, "--runs", str(runs), "--rounds", "3"]
    rates: dict[str, list[float]] = {"holdfast": [], "langgraph": [], "dbos": [], "bare": []}
    for _ in range(ROUNDS):
        rates["holdfast"].append(_run([sys.executable, "-m", "benchmarks.holdfast_steps", *options], stack, processes))
        for peer in ("langgraph", "dbos"):
            command = [python, str(PEERS / f"{peer}_steps.py"), "--database", stack.database_url(f"bench_{peer}"), *options]
            rates[peer].append(_run(command, stack, processes))
        rates["bare"].append(_bare(stack, size) if processes == 1 else float("nan"))
    figures = [Figure(f"{title}: Holdfast", f"{median(rates['holdfast']):.0f} steps/s", spread(rates["holdfast"]))]
    for peer in ("langgraph", "dbos", *(("bare",) if processes == 1 else ())):
        ratios = [ours / theirs for ours, theirs in zip(rates["holdfast"], rates[peer], strict=True)]
        text = f"Holdfast {median(ratios):.2f} × ({spread(ratios)})"
        figures.append(Figure(f"{title}: {peer}", f"{median(rates[peer]):.0f} steps/s", text))
    return figures


def _run(command: list[str], stack: Stack, processes: int) -> float:
    """Steps per second of so many processes that start at one moment."""
    go_at = ["--go-at", str(time.time() + 12)] if processes > 1 else []
    started = [
        subprocess.Popen(
            [*command, *go_at], cwd=ROOT, env={**os.environ, **stack.environment}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    found: list[dict[str, Any]] = []
    for process in started:
        output, _ = process.communicate()
        assert process.returncode == 0, f"{command} failed"
        found.append(json.loads(output.splitlines()[-1]))
    return sum(float(one["steps_per_second"]) for one in found)


def _bare(stack: Stack, size: int) -> float:
    """INSERT and COMMIT of as many bytes, by psycopg, as fast as it goes."""
    row, count = os.urandom(size), 400
    with psycopg.connect(stack.database_url("bench_dbos"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_bare (id bigserial PRIMARY KEY, data bytea)")
        began = time.perf_counter()
        for _ in range(count):
            connection.execute("INSERT INTO bench_bare (data) VALUES (%s)", [row], prepare=True)
        return count / (time.perf_counter() - began)


def peers() -> str:
    """The peers' own environment, made on first use: nothing of theirs is Holdfast's."""
    python = VENV / "bin" / "python"
    if not (VENV / ".installed").exists():
        print("  installing the peers into .venv-peers …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(PEERS / "requirements.txt")], check=True)
        (VENV / ".installed").touch()
    return str(python)


def create(stack: Stack, database: str) -> None:
    """Make the peers' database, unless it is there."""
    with stack.database() as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {database}")
