"""A soak: mixed runs while workers, Redis and PostgreSQL are killed at random; then what came of each run and effect.

``python -m tests.soak --seconds 180 --seed 1``. Its last line is ``lost 0 doubled 0``, or it names the runs and exits with 1.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import psycopg

from holdfast.embedded import Home
from tests.stack import Stack, processes_of

AT_ONCE = 14  # unfinished runs
SETTLE = 120.0  # seconds for everything to end once nothing is killed any more
FINAL = {"succeeded", "failed", "rejected", "cancelled"}
WORDS = "The parcel arrived with a broken lid and the customer sent photographs of it."
_HOLDERS = """
SELECT split_part(a.application_name, ' ', 3)::int, r.id::text FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
LEFT JOIN runs_run r ON r.worker = ((l.classid::bigint << 32) | l.objid::bigint) AND r.status = 'running'
WHERE a.application_name LIKE 'holdfast lease %'
"""


@dataclass
class Started:
    """One run: the effects that it is to have, as the sandbox names them, and when its worker was killed."""

    workflow: str
    kind: str
    effects: list[str]
    kills: list[float] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)


class Soak:
    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack, self.dice, self.number = stack, random.Random(seed), 0
        self.runs: dict[str, Started] = {}
        self.unanswered: tuple[dict[str, Any], Started] | None = None  # a start whose answer was lost is sent again
        self.did: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def shake(self, seconds: float) -> None:
        end, next_blow = time.monotonic() + seconds, time.monotonic() + 5
        while time.monotonic() < end:
            self.step()
            if time.monotonic() > next_blow:
                blows = [self.kill_child, self.kill_worker, self.kill_redis, self.kill_postgres]
                with suppress(psycopg.Error, ProcessLookupError, FileNotFoundError, StopIteration):
                    self.dice.choices(blows, weights=[12, 4, 2, 1])[0]()
                next_blow = time.monotonic() + self.dice.uniform(1.0, 4.0)

    def settle(self) -> None:
        end = time.monotonic() + SETTLE
        while time.monotonic() < end and (self.unanswered or self.unfinished()):
            self.step()

    def step(self) -> None:
        """One round of what people do. While the database is away their requests fail, and are made again."""
        with suppress(httpx.TransportError, httpx.HTTPStatusError):
            if self.unanswered or len(self.unfinished()) < AT_ONCE:
                self.start()
            self.answer_gates()
            for run in self.unfinished():
                self.runs[run].found = self.get("alice", f"/api/runs/{run}")
        time.sleep(0.1)

    def unfinished(self) -> list[str]:
        return [run for run, started in self.runs.items() if started.found.get("status") not in FINAL]

    def get(self, name: str, path: str, **parameters: Any) -> Any:
        return self.stack.api(name).get(path, params=parameters).raise_for_status().json()

    # -- people

    def start(self) -> None:
        if self.unanswered is None and not self.stopping:
            self.number += 1
            self.unanswered = self.new_run(f"soak-{self.number}")
        if self.unanswered is not None:
            body, started = self.unanswered
            answer = self.stack.api("alice").post("/api/runs", json=body).raise_for_status()
            self.runs[answer.json()["id"]], self.unanswered = started, None

    stopping = False

    def new_run(self, name: str) -> tuple[dict[str, Any], Started]:
        kind = self.dice.choice(["refund", "refund", "large refund", "contacts", "research"])
        workflow = kind.split()[-1]
        effects = [name]
        if workflow == "refund":
            amount = self.dice.randint(10, 250) if kind == "refund" else self.dice.randint(300, 900)
            reason = WORDS if kind == "refund" else "broken"
            given: dict[str, Any] = {"order": name, "amount": amount, "reason": reason, "unreliable": self.dice.choice([0, 1])}
        elif workflow == "contacts":
            effects = [f"{name}-{n}@example.com" for n in range(self.dice.randint(2, 14))]
            rows = [{"name": "Some Person", "email": email} for email in effects]
            given = {"contacts": rows, "trouble": self.dice.choice([0, 0.5]), "stale": self.dice.choice([0, 2])}
        else:
            effects, given = [], {"question": "What is the two-person rule for?", "pace": round(self.dice.uniform(0.1, 0.6), 2)}
        return {"workflow": workflow, "input": given, "idempotency_key": name}, Started(workflow, kind, effects)

    def answer_gates(self) -> None:
        for gate in self.get("alice", "/api/gates", status="open", limit=200)["items"]:
            verdict = "approve" if gate["kind"] == "approval" else self.truth(self.runs[gate["run"]])
            body = {"verdict": verdict, "version": gate["version"], "proposal_hash": gate["proposal_hash"]}
            by = self.stack.api("bob" if gate["kind"] == "approval" else "alice")
            if by.post(f"/api/gates/{gate['id']}/decisions", json=body).status_code == 201:
                self.asked[gate["kind"]] += 1

    def truth(self, started: Started) -> str:
        """The honest answer to an outcome gate; a batch that is half done is neither."""
        seen = [self.counts(started).get(name, 0) for name in started.effects]
        return "happened" if all(seen) else "fail" if any(seen) else "not_happened"

    def counts(self, started: Started) -> dict[str, int]:
        kind = "contact" if started.workflow == "contacts" else "refund"
        found: dict[str, int] = httpx.get(self.stack.sandbox + "/counts", timeout=30).json()[kind]
        return found

    # -- blows

    def holders(self) -> dict[int, str | None]:
        """Each pool child that holds a lease, with the run in its hands."""
        with self.stack.database() as connection:
            return dict(connection.execute(_HOLDERS).fetchall())

    def kill_child(self) -> None:
        holders = self.holders()
        pid = self.dice.choice(sorted(holders, key=lambda pid: holders[pid] is None)[:2])
        self.kill(pid, "pool child", [holders[pid]])

    def kill_worker(self) -> None:
        holders = self.holders()
        worker = self.stack.worker_of(self.dice.choice(sorted(holders)))
        self.kill(worker, "worker", [run for pid, run in holders.items() if self.stack.worker_of(pid) == worker])

    def kill_redis(self) -> None:
        self.kill(next(pid for pid, words in processes_of(self.stack.folder).items() if "redis-server" in words), "Redis", [])

    def kill_postgres(self) -> None:
        lock = Home(self.stack.folder).pg_data / "postmaster.pid"
        self.kill(int(lock.read_text().split()[0]), "PostgreSQL", [])

    def kill(self, pid: int, what: str, held: list[str | None]) -> None:
        number = signal.SIGKILL if what != "PostgreSQL" else self.dice.choice([signal.SIGINT, signal.SIGKILL])
        os.kill(pid, number)
        self.did[what] += 1
        for run in held:
            if run in self.runs:
                self.runs[run].kills.append(time.time())

    # -- what came of it

    def faults(self) -> tuple[dict[str, str], dict[str, str]]:
        """Lost: runs that did not end, or said to have done what is not there. Doubled: effects and steps done twice."""
        lost, doubled = {}, {}
        for run, started in self.runs.items():
            status, error = started.found.get("status"), (started.found.get("error") or {}).get("type")
            seen = {name: self.counts(started).get(name, 0) for name in started.effects}
            least = int(status == "succeeded")
            most = int(least or started.workflow == "contacts" or error in ("Poison", "Rejected", "OutcomeFailed"))
            if status not in FINAL or min(seen.values(), default=1) < least:
                lost[run] = f"{started.kind} is {status}, effects {seen}"
            steps = Counter(entry["step"] for entry in started.journal if entry["kind"] == "checkpoint")
            twice = [step for step, times in steps.items() if times > 1 and started.workflow != "contacts"]
            if max(seen.values(), default=0) > most or twice:
                doubled[run] = f"{started.kind} is {status} ({error}), effects {seen}, steps {twice}"
        return lost, doubled

    def recoveries(self) -> Iterator[tuple[float, float]]:
        """For each killed worker's run: seconds from the kill to its worker_lost entry, and to its next sign of work."""
        for started in self.runs.values():
            for killed in started.kills:
                later = [entry for entry in started.journal if _time(entry["at"]) > killed]
                lost = next((n for n, entry in enumerate(later) if entry["kind"] == "worker_lost"), None)
                if lost is None:
                    continue
                kinds = ("checkpoint", "attempt_failed", "verified", "worker_lost", "gate_opened")
                signs = [_time(e.get("started_at") or e["at"]) for e in later[lost + 1 :] if e["kind"] in kinds]
                if signs:
                    yield _time(later[lost]["at"]) - killed, signs[0] - killed

    def report(self) -> bool:
        for run, started in self.runs.items():
            started.journal = self.get("alice", f"/api/runs/{run}/journal", limit=200)["items"]
        lost, doubled = self.faults()
        done = [run for run in self.runs.values() if run.found.get("status") == "succeeded"]
        expected = sum(len(run.effects) for run in done)
        counted = sum(self.counts(run).get(name, 0) for run in done for name in run.effects)
        print("killed:", ", ".join(f"{what} {times}" for what, times in sorted(self.did.items())))
        print("runs started", len(self.runs), dict(Counter(run.kind for run in self.runs.values())))
        print("runs ended", dict(Counter(str(run.found.get("status")) for run in self.runs.values())))
        print("failed with", dict(Counter(run.found["error"]["type"] for run in self.runs.values() if run.found.get("error"))))
        print(f"effects of succeeded runs: expected {expected}, counted {counted}")
        print("answered by people:", dict(self.asked), f"(outcome gates: {self.asked['outcome']})")
        pairs = list(self.recoveries())
        for what, times in zip(
            ("worker_lost entry", "next step started or effect verified"), zip(*pairs, strict=True), strict=False
        ):
            print(f"from SIGKILL to the run's {what}: {_percentiles(times)}")
        for run, text in (lost | doubled).items():
            print(run, text)
        print(f"lost {len(lost)} doubled {len(doubled)}")
        return not lost and not doubled


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _percentiles(times: tuple[float, ...]) -> str:
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return f"p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, most {max(times):.2f} s, of {len(times)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    stack = Stack(HOLDFAST_WORKERS="2", HOLDFAST_SLOTS="2")
    try:
        soak = Soak(stack.start(), options.seed)
        soak.shake(options.seconds)
        soak.stopping = True
        soak.settle()
        good = soak.report()
    finally:
        stack.stop()
    if good:
        shutil.rmtree(stack.folder, ignore_errors=True)
    sys.exit(0 if good else f"what the processes said is in {stack.log}")


if __name__ == "__main__":
    main()
