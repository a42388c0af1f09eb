"""A soak: mixed runs while workers, Redis and PostgreSQL are killed at random; then what came of each run and effect.

Its last line is ``lost 0 doubled 0``, or it names the runs and exits with 1. A seed fixes what is started and hit, not when.
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
FINAL = {"succeeded", "failed", "rejected", "cancelled", "rolled_back"}
UNTOLD = {"Poison", "OutcomeUnknown"}  # a run that failed with these does not say whether its effect happened
BLOWS = {"pool child": 12, "worker": 4, "Redis": 2, "PostgreSQL": 1}  # how often each, of 19
HOLDERS = """
SELECT split_part(a.application_name, ' ', 3)::int, r.id::text FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory'
LEFT JOIN (
    SELECT id, worker FROM runs_run UNION ALL SELECT run_id, worker FROM runs_branch WHERE status = 'running'
) AS r ON r.worker = ((l.classid::bigint << 32) | l.objid::bigint)
WHERE a.application_name LIKE 'holdfast lease %'
"""


@dataclass
class Started:
    """One run: the effects that it is to have, as the sandbox names them, and when its worker was killed."""

    kind: str
    effects: list[str]
    kills: list[float] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """A refund that is to be returned is over when it was rolled back."""
        status = self.found.get("status")
        return status in FINAL and (self.kind != "returned" or status not in ("failed", "succeeded"))

    @property
    def receipts(self) -> list[str]:
        """Of what it has paid, by its journal."""
        paid = [entry["detail"] for entry in self.journal if entry["kind"] == "checkpoint" and entry["step"] == "pay"]
        return [detail["changed"]["receipt"]["to"] for detail in paid if "receipt" in detail["changed"]]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Soak:
    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack, self.dice, self.hammer = stack, random.Random(seed), random.Random(seed + 1)
        self.runs: dict[str, Started] = {}
        self.unanswered: tuple[dict[str, Any], Started] | None = None  # a start whose answer was lost is sent again
        self.did, self.asked = Counter[str](), Counter[str]()

    def shake(self, seconds: float) -> None:
        """Start runs and strike; then let everything end."""
        next_blow, end = time.monotonic() + 5, time.monotonic() + seconds
        while (now := time.monotonic()) < end or (now < end + SETTLE and (self.unanswered or self.unfinished())):
            self.step(starts=now < end)
            if next_blow < now < end:
                with suppress(psycopg.Error, OSError, StopIteration, IndexError):  # what it would hit is away just now
                    self.blow()
                next_blow = now + self.hammer.uniform(1.0, 4.0)

    def step(self, *, starts: bool) -> None:
        """One round of what people do. While the database is away their requests fail, and are made again."""
        with suppress(httpx.TransportError, httpx.HTTPStatusError):
            if starts and self.unanswered is None and len(self.unfinished()) < AT_ONCE:
                self.unanswered = self.new_run(f"soak-{len(self.runs)}")
            if self.unanswered is not None:
                answer = self.stack.api("alice").post("/api/runs", json=self.unanswered[0]).raise_for_status()
                self.runs[answer.json()["id"]], self.unanswered = self.unanswered[1], None
            self.answer_gates()
            for run in self.unfinished():
                self.runs[run].found = self.get(f"/api/runs/{run}")
                if self.runs[run].kind == "returned" and self.runs[run].found["status"] == "failed":
                    self.stack.api("carol").post(f"/api/runs/{run}/roll-back", json={"reason": "the soak"})
        time.sleep(0.1)

    def unfinished(self) -> list[str]:
        return [run for run, started in self.runs.items() if not started.is_over]

    def get(self, path: str, **parameters: Any) -> Any:
        return self.stack.api("alice").get(path, params=parameters).raise_for_status().json()

    def new_run(self, name: str) -> tuple[dict[str, Any], Started]:
        kind = self.dice.choice(["refund", "returned", "large refund", "contacts", "letter", "research"])
        pick, effects = self.dice.choice, [name]
        amount, reason = (600, "") if kind == "large refund" else (60, "The lid was broken on arrival.")  # 600 needs a gate
        given: dict[str, Any] = {"order": name, "unreliable": pick([0, 1]), "amount": amount, "reason": reason}
        given["bounces"] = kind == "returned"
        if kind == "contacts":
            effects = [f"{name}-{n}@example.com" for n in range(self.dice.randint(2, 64))]
            rows = [{"name": "Some Person", "email": email} for email in effects]
            given = {"contacts": rows, "trouble": pick([0, 0.5]), "stale": pick([0, 2])}
        elif kind == "letter":  # it can be asked nothing: after a lost reply or a crash a person is
            given = {"to": name, "text": "Dear Ada", "trouble": pick([0, 0.5])}
        elif kind == "research":
            effects, given = [], {"question": "What is the two-person rule for?", "pace": pick([0.1, 0.3, 0.6])}
        workflow = "refund" if kind == "returned" else kind.split()[-1]
        return {"workflow": workflow, "input": given, "idempotency_key": name}, Started(kind, effects)

    def answer_gates(self) -> None:
        for gate in self.get("/api/gates", status="open", limit=200)["items"]:
            verdict, by = "approve", "bob"
            if gate["kind"] == "outcome":  # answered honestly; a batch that is half done is neither
                seen = [self.counts()[name] for name in self.runs[gate["run"]].effects]
                verdict, by = "happened" if all(seen) else "fail" if any(seen) else "not_happened", "alice"
            if gate["kind"] == "undo":
                verdict, by = "retry", "alice"
            body = {"verdict": verdict, "version": gate["version"], "proposal_hash": gate["proposal_hash"]}
            self.asked[gate["kind"]] += self.stack.api(by).post(f"/api/gates/{gate['id']}/decisions", json=body).is_success

    def counts(self) -> Counter[str]:
        found = httpx.get(self.stack.sandbox + "/counts").json()
        return Counter(found["refund"] | found["contact"] | found["letter"] | found["void"])

    def blow(self) -> None:
        """SIGKILL a pool child (one with a run, if any has one), a whole worker or Redis; PostgreSQL also by SIGINT."""
        what = self.hammer.choices(list(BLOWS), list(BLOWS.values()))[0]
        with self.stack.database() as connection:
            holders: dict[int, str | None] = dict(connection.execute(HOLDERS).fetchall())
        workers = {child: self.stack.worker_of(child) for child in holders}
        pid = self.hammer.choice(sorted(child for child, run in holders.items() if run) or sorted(holders))
        if what == "worker":
            pid = workers[pid]
        elif what == "Redis":
            pid = next(pid for pid, words in processes_of(self.stack.folder).items() if "redis-server" in words)
        elif what == "PostgreSQL":
            pid = int((Home(self.stack.folder).pg_data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, self.hammer.choice([signal.SIGINT, signal.SIGKILL]) if what == "PostgreSQL" else signal.SIGKILL)
        self.did[what] += 1
        for child, run in holders.items():
            if run in self.runs and pid in (child, workers[child]):
                self.runs[run].kills.append(time.time())

    def faults(self, started: Started, counts: Counter[str]) -> tuple[bool, bool]:
        """Lost: it did not end, or says that it did what is not there. Doubled: an effect or a step was done twice."""
        status = started.found.get("status")
        seen = [counts[name] for name in started.effects]
        if started.kind == "returned":  # what was paid was voided, each once
            voided = [counts[receipt] for receipt in started.receipts]
            return not started.is_over or sum(voided) < sum(seen), max([*seen, *voided], default=0) > 1
        untold = (started.found.get("error") or {}).get("type") in UNTOLD
        most = int(status == "succeeded" or started.kind == "contacts" or untold)
        steps = Counter(entry["step"] for entry in started.journal if entry["kind"] == "checkpoint")
        again = max(steps.values(), default=0) > 1
        return status not in FINAL or (status == "succeeded" and 0 in seen), again or max(seen, default=0) > most

    def recoveries(self) -> Iterator[tuple[float, float]]:
        """Seconds from each SIGKILL to its run's worker_lost entry, and to the next start of a step or entry of work."""
        for started in self.runs.values():
            for killed in started.kills:
                later = [entry for entry in started.journal if _seconds(entry["at"]) > killed]
                while later and later[0]["kind"] != "worker_lost":
                    later.pop(0)
                signs = [_seconds(entry.get("started_at") or entry["at"]) for entry in later[1:]]
                if signs:
                    yield _seconds(later[0]["at"]) - killed, signs[0] - killed

    def report(self) -> bool:
        counts, runs = self.counts(), self.runs.values()
        for run, started in self.runs.items():
            started.journal = self.get(f"/api/runs/{run}/journal", limit=200)["items"]
        effects = [name for run in runs if run.found.get("status") == "succeeded" for name in run.effects]
        print("killed:", dict(self.did), "\nruns started:", len(runs), dict(Counter(run.kind for run in runs)))
        errors = Counter(run.found["error"]["type"] for run in runs if run.found.get("error"))
        print("runs ended:", dict(Counter(run.found.get("status") for run in runs)), "errors:", dict(errors))
        print("effects of succeeded runs: expected", len(effects), "counted", sum(counts[name] for name in effects))
        print("gates answered:", dict(self.asked), "- a person had to be asked about an outcome:", self.asked["outcome"])
        _print_percentiles(list(self.recoveries()))
        lost, doubled = ([run for run, one in self.runs.items() if self.faults(one, counts)[n]] for n in (0, 1))
        for run in sorted({*lost, *doubled}):
            print(run, self.runs[run].kind, self.runs[run].found, [counts[name] for name in self.runs[run].effects])
        print(f"lost {len(lost)} doubled {len(doubled)}")
        return not lost and not doubled


def _print_percentiles(pairs: list[tuple[float, float]]) -> None:
    for what, times in zip(("worker_lost entry", "next start of a step"), zip(*pairs, strict=True), strict=False):
        cuts = statistics.quantiles([*times, *times], n=100, method="inclusive")
        print(f"from SIGKILL to the run's {what}: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, of {len(times)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:g} s", flush=True)
    stack = Stack(HOLDFAST_WORKERS="2", HOLDFAST_SLOTS="2")
    try:
        soak = Soak(stack.start(), given.seed)
        soak.shake(given.seconds)
        good = soak.report()
    finally:
        stack.stop()
    if not good:
        sys.exit(f"what the processes said is in {stack.log}")
    shutil.rmtree(stack.folder)


if __name__ == "__main__":
    main()
