"""A fan-out under SIGKILL: how many results there are in the end, and how often its join ran.

``python -m tests.fan_out_soak --branches 10000`` prints ``results 10000, join 1``, or exits with 1.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.stack import Stack

HOLDERS = """
SELECT DISTINCT split_part(a.application_name, ' ', 3)::int FROM pg_stat_activity a
JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
JOIN runs_branch b ON b.worker = ((l.classid::bigint << 32) | l.objid::bigint) AND b.status = 'running'
WHERE a.application_name LIKE 'holdfast lease %%' AND b.run_id = %s
"""


@dataclass
class Shaken:
    """``results`` are the distinct ones, ``doubled`` how many came twice, ``joins`` how often the join was committed."""

    status: str
    results: int
    doubled: int
    joins: int
    kills: int
    lost: int  # branches that were taken over
    seconds: float


def shake(stack: Stack, size: int, *, kills: int, every: float, seed: int, patience: float = 120.0) -> Shaken:
    """Fan out to ``size`` branches, and SIGKILL a worker process that has one every so many seconds."""
    dice, alice, began, done = random.Random(seed), stack.api("alice"), time.monotonic(), 0
    body = {"workflow": "acme-fan", "input": {"size": size}}
    run = alice.post("/api/runs", json=body).raise_for_status().json()["id"]
    next_kill = began + every
    while (found := alice.get(f"/api/runs/{run}").json())["status"] not in ("succeeded", "failed"):
        assert time.monotonic() < began + patience, found
        if done < kills and time.monotonic() > next_kill:
            next_kill = time.monotonic() + every
            done += _kill(stack, run, dice)
        time.sleep(0.02)
    entries = _journal(alice, run)
    results = Counter(alice.get(f"/api/runs/{run}/checkpoints/{found['seq']}").json()["state"]["results"])
    return Shaken(
        status=found["status"],
        results=len(results),
        doubled=sum(count - 1 for count in results.values()),
        joins=sum(entry["kind"] == "checkpoint" and entry["step"] == "gather" for entry in entries),
        kills=done,
        lost=sum(entry["kind"] == "worker_lost" for entry in entries),
        seconds=time.monotonic() - began,
    )


def _kill(stack: Stack, run: str, dice: random.Random) -> bool:
    with stack.database() as connection:
        pids = [row[0] for row in connection.execute(HOLDERS, [run]).fetchall()]
    if not pids:
        return False
    os.kill(dice.choice(sorted(pids)), signal.SIGKILL)
    return True


def _journal(client: Any, run: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    after: int | None = -1
    while after is not None:
        page = client.get(f"/api/runs/{run}/journal", params={"after": after, "limit": 200}).json()
        entries, after = entries + page["items"], page["next"]
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(prog="fan_out_soak", description=__doc__)
    parser.add_argument("--branches", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.branches} branches on 2 workers of 2 processes", flush=True)
    stack = Stack(HOLDFAST_APPS="acme", HOLDFAST_WORKERS="2", HOLDFAST_SLOTS="2")
    try:
        found = shake(stack.start(), given.branches, kills=given.kills, every=0.5, seed=given.seed, patience=600)
    finally:
        stack.stop()
    print(f"{found.kills} processes killed, {found.lost} branches taken over, {found.seconds:.1f} s, {found.status}")
    print(f"results {found.results}, doubled {found.doubled}, join {found.joins}")
    if (found.results, found.doubled, found.joins) != (given.branches, 0, 1):
        sys.exit(f"what the processes said is in {stack.log}")
    shutil.rmtree(stack.folder)


if __name__ == "__main__":
    try:
        main()
    except psycopg.Error as error:
        sys.exit(str(error))
