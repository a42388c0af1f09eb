"""Redis, PostgreSQL, single connections, the disk and single workers fail in the middle of runs: nothing is lost or doubled."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from websockets.sync.client import ClientConnection, connect

from holdfast.embedded import Home
from tests.stack import Stack, processes_of

ROUNDS = 5
numbers = count()


@pytest.fixture(scope="module")
def shaken() -> Iterator[Stack]:
    """A Holdfast of its own: what these tests do to it would disturb the others."""
    running = Stack(HOLDFAST_WORKERS="2", HOLDFAST_SLOTS="2", HOLDFAST_APPS="acme").start()
    install_refusals(running)
    with ThreadPoolExecutor() as both:  # making a token takes seconds
        list(both.map(running.token, ("alice", "bob")))
    yield running
    running.stop()
    shutil.rmtree(running.folder)


@pytest.fixture(autouse=True)
def settled(shaken: Stack, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each outage finds a Holdfast that is ready, and leaves one that has become so by itself, its web process the same."""
    until(lambda: ready(shaken)[0] == 200 and len(children(shaken)) == 4, 30)
    web = process(shaken, "uvicorn")
    yield
    until(lambda: ready(shaken)[0] == 200 and len(children(shaken)) == 4, 30)
    assert (process(shaken, "uvicorn") == web) is ("uvicorn" not in request.node.name)


# -- what the tests ask and do


def until(holds: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def ready(stack: Stack) -> tuple[int, set[str]]:
    """The status of /readyz, and the names of the parts that it says are wrong; 0 where nobody answers."""
    try:
        answer = httpx.get(stack.url + "/readyz", timeout=30)
    except httpx.TransportError:
        return 0, {"web"}
    return answer.status_code, {name for name, check in answer.json()["checks"].items() if not check["ok"]}


def start(stack: Stack, many: int, rounds: int = ROUNDS, pace: float = 0.15) -> dict[str, str]:
    """Runs of some steps and one effect: what each writes into the CRM, by its id."""
    found = {}
    for name in [f"entry-{next(numbers)}@example.com" for _ in range(many)]:
        given = {"name": name, "rounds": rounds, "pace": pace}
        made = stack.api("alice").post("/api/runs", json={"workflow": "acme-turns", "input": given})
        assert made.status_code == 201, made.text
        found[made.json()["id"]] = name
    return found


def look(stack: Stack, run: str) -> dict[str, Any]:
    """The run; nothing while the database is away."""
    answer = stack.api("alice").get(f"/api/runs/{run}")
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 else {}


def journal(stack: Stack, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.api("alice").get(f"/api/runs/{run}/journal", params={"limit": 200}).json()["items"]
    return found


def begun(stack: Stack, runs: dict[str, str]) -> None:
    """Wait until the first steps are done and others are in flight."""
    until(lambda: sum(look(stack, run).get("seq", 0) > 1 for run in runs) >= 3, 20)


def check_all_done_once(stack: Stack, runs: dict[str, str], rounds: int = ROUNDS) -> None:
    """Every run succeeds with each step committed once, in order and unaltered, and its effect happened once."""
    until(lambda: all(look(stack, run).get("status") in ("succeeded", "failed") for run in runs), 45)
    counts = httpx.get(stack.sandbox + "/counts").json()["contact"]
    for run, name in runs.items():
        found, entries = look(stack, run), journal(stack, run)
        assert found["status"] == "succeeded", entries
        assert [entry["seq"] for entry in entries] == list(range(found["seq"] + 1))
        steps = [entry["step"] for entry in entries if entry["kind"] == "checkpoint"]
        assert steps == ["", *["turn"] * rounds, "enter"]
        last = stack.api("alice").get(f"/api/runs/{run}/checkpoints/{found['seq']}").json()
        assert last["state"]["turns"] == list(range(rounds))
        assert counts[name] == 1


def ran(stack: Stack, runs: dict[str, str]) -> Counter[str]:
    """How often each step's function of these runs was called."""
    lines = (stack.folder / "ran.log").read_text().splitlines()
    return Counter(line for line in lines if line.split()[0] in runs)


def process(stack: Stack, word: str) -> int:
    return next(pid for pid, command in processes_of(stack.folder).items() if word in command)


def postmaster(stack: Stack) -> int:
    return int((Home(stack.folder).pg_data / "postmaster.pid").read_text().split()[0])


def backend(stack: Stack) -> int:
    """The server's end of a worker's lease."""
    with stack.database() as connection:
        row = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name ~ '^holdfast lease'").fetchone()
        assert row is not None
        return int(row[0])


def children(stack: Stack) -> set[int]:
    """The pool children that hold a lease."""
    with stack.database() as connection:
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'holdfast lease %'"
        )
        return {int(row[0].split()[-1]) for row in rows}


@contextmanager
def only_dies(stack: Stack, *names: str) -> Iterator[None]:
    """Of the supervised processes just these end, once each: no crash loop."""
    before = len(stack.output())
    yield
    lines = [line for line in stack.output()[before:].splitlines() if "ended with" in line]
    assert sorted(line.split("│")[0].strip() for line in lines) == sorted(names), lines


# -- Redis


def test_redis_restarts_in_the_middle_of_runs(shaken):
    with only_dies(shaken, "redis"):
        runs = start(shaken, 6)
        begun(shaken, runs)
        os.kill(process(shaken, "redis-server"), signal.SIGKILL)
        runs |= start(shaken, 3)
        check_all_done_once(shaken, runs)
    assert set(ran(shaken, runs).values()) == {1}


def test_bells_that_are_flushed_away_are_rung_again(shaken):
    with only_dies(shaken):
        runs = start(shaken, 14, rounds=2)
        with redis.Redis.from_url(Home(shaken.folder).redis_url) as client:
            assert client.llen("runs") > 0
            client.flushall()
        assert sum(look(shaken, run)["status"] == "queued" for run in runs) >= 4
        check_all_done_once(shaken, runs, rounds=2)
    assert set(ran(shaken, runs).values()) == {1}


def says_slow(page: ClientConnection, slow: bool) -> bool:
    """Whether the page's next heartbeat is that."""
    return bool(json.loads(page.recv(timeout=10)).get("slow", not slow) is slow)


def test_a_redis_that_hangs_hangs_nobody_and_is_said(shaken):
    address = shaken.url.replace("http", "ws") + "/ws/runs/?format=html"
    alice = shaken.api("alice")
    asked = alice.post("/api/runs", json={"workflow": "refund", "input": {"order": "HANG-1", "amount": 400}}).json()["id"]
    assert shaken.finish(asked, alice)["status"] == "waiting"
    shaken.api("bob")
    took: list[float] = []

    def timed(act):
        began = time.monotonic()
        answer = act()
        took.append(time.monotonic() - began)
        return answer

    headers = {"Authorization": f"Bearer {shaken.token('alice')}"}
    with only_dies(shaken), connect(address, additional_headers=headers, close_timeout=1) as page:
        assert says_slow(page, False)
        runs = start(shaken, 3, rounds=8)
        begun(shaken, runs)
        in_flight = list(runs)
        with frozen(process(shaken, "redis-server")):
            assert ready(shaken) == (503, {"redis"})
            assert timed(lambda: shaken.decide(asked, shaken.api("bob"))).status_code == 201
            for _ in range(4):
                runs |= timed(lambda: start(shaken, 1, rounds=8))
                time.sleep(0.4)
            until(lambda: all(look(shaken, run)["status"] == "succeeded" for run in in_flight), 10)
            until(lambda: says_slow(page, True), 20)
        assert max(took) < 2
        check_all_done_once(shaken, runs, rounds=8)
        until(lambda: says_slow(page, False), 20)
        assert shaken.finish(asked, alice)["status"] == "succeeded"
    assert set(ran(shaken, runs).values()) == {1}
    assert httpx.get(shaken.sandbox + "/counts").json()["refund"]["HANG-1"] == 1


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# -- PostgreSQL


def test_postgres_restarts_in_the_middle_of_runs(shaken):
    """A backend is killed, then it is stopped in order, then all of it is killed. What that costs is charged to no run."""
    with only_dies(shaken, "postgres", "postgres"):
        runs = start(shaken, 6)
        begun(shaken, runs)
        os.kill(backend(shaken), signal.SIGKILL)
        until(lambda: ready(shaken)[0] == 200 and len(children(shaken)) == 4, 20)
        for number in (signal.SIGINT, signal.SIGKILL):
            ended = postmaster(shaken)
            os.kill(ended, number)
            until(lambda ended=ended: is_gone(ended), 10)
            until(lambda: ready(shaken)[0] == 200, 20)
        check_all_done_once(shaken, runs)
    lost = [entry for run in runs for entry in journal(shaken, run) if entry["kind"] == "worker_lost"]
    assert lost
    assert {entry["detail"]["losses"] for entry in lost} == {0}


def test_readiness_names_a_database_that_is_away_and_workers_come_back_with_nothing_due(shaken):
    with only_dies(shaken, "postgres"):
        supervisor = shaken.process.pid
        with frozen(supervisor):  # so that nobody starts it again
            os.kill(postmaster(shaken), signal.SIGQUIT)
            until(lambda: ready(shaken) == (503, {"database"}), 5)
            began = time.monotonic()
            assert ready(shaken) == (503, {"database"})
            assert time.monotonic() - began < 5
        until(lambda: ready(shaken)[0] == 200, 30)
        answers = [shaken.api("alice").get("/api/runs").status_code for _ in range(5)]
        assert answers == [200] * 5


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


# -- single connections

CUT = """SELECT application_name, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s
ORDER BY random() LIMIT 1"""
WEARY = "SELECT FROM runs_run WHERE losses > 1 AND finished_at IS NULL"  # with a third loss in a visit it has failed


def test_connections_are_cut_at_random_moments(shaken):
    dice = random.Random(7)
    kinds = ["holdfast worker-%", "holdfast lease %", "holdfast sweeper", "holdfast web"] * 2
    dice.shuffle(kinds)
    names: list[str] = []

    def cut(kind):
        found = connection.execute(CUT, [kind]).fetchone()
        names.extend(found[:1] if found else [])
        return found

    with only_dies(shaken):
        runs = start(shaken, 8)
        begun(shaken, runs)
        with shaken.database() as connection:
            for kind in kinds:
                until(lambda: connection.execute(WEARY).fetchone() is None, 10)
                until(lambda kind=kind: cut(kind), 10)
                time.sleep(dice.uniform(0.1, 0.5))
        check_all_done_once(shaken, runs)
    without_lease = [int(name.split()[-1]) for name in names if name.startswith("holdfast lease")]
    until(lambda: not set(without_lease) & set(processes_of(shaken.folder)), 10)  # such a process ends


# -- a database that refuses

REFUSALS = """
CREATE TABLE outage_refuses (what text);
CREATE FUNCTION outage_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM outage_refuses WHERE what = TG_TABLE_NAME) THEN
        RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END IF;
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER outage_refuse AFTER INSERT ON checkpoints_checkpoint
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outage_refuse();
CREATE TRIGGER outage_refuse BEFORE UPDATE ON runs_run FOR EACH ROW EXECUTE FUNCTION outage_refuse();
"""


def install_refusals(stack: Stack) -> None:
    with stack.database() as connection:
        connection.execute(REFUSALS)


@contextmanager
def refused(stack: Stack, *tables: str) -> Iterator[psycopg.Connection]:
    with stack.database() as connection:
        for table in tables:
            connection.execute("INSERT INTO outage_refuses VALUES (%s)", [table])
        try:
            yield connection
        finally:
            connection.execute("DELETE FROM outage_refuses")


def test_a_refused_commit_is_insisted_on(shaken):
    """No worker dies, and no step's function runs again for a commit that the server refused."""
    before = children(shaken)
    with only_dies(shaken):
        runs = start(shaken, 6)
        begun(shaken, runs)
        with refused(shaken, "checkpoints_checkpoint"):
            time.sleep(0.5)
            stood = [look(shaken, run)["seq"] for run in runs]
            time.sleep(1.5)
            assert [look(shaken, run)["seq"] for run in runs] == stood
        check_all_done_once(shaken, runs)
    assert children(shaken) == before
    assert set(ran(shaken, runs).values()) == {1}
    assert not any(entry["kind"] == "worker_lost" for run in runs for entry in journal(shaken, run))


def test_claims_and_sweeps_that_are_refused_are_tried_again(shaken):
    """Also a takeover is refused, and a new run; neither leaves half a thing behind."""
    alice = shaken.api("alice")
    with only_dies(shaken):
        runs = start(shaken, 6)
        begun(shaken, runs)
        with refused(shaken, "runs_run", "checkpoints_checkpoint") as connection:
            running = next(run for run in runs if look(shaken, run)["status"] == "running")
            killed = shaken.worker_process(running)
            os.kill(killed, signal.SIGKILL)
            body = {"workflow": "acme-turns", "input": {"name": "refused"}}
            assert alice.post("/api/runs", json=body).status_code == 503
            time.sleep(2)
            assert connection.execute("SELECT count(*) FROM runs_run WHERE input ->> 'name' = 'refused'").fetchone() == (0,)
            assert look(shaken, running)["status"] == "running"  # lost, and nobody can take it over yet
        check_all_done_once(shaken, runs)
    lost = [entry["kind"] for run in runs for entry in journal(shaken, run)].count("worker_lost")
    assert lost == 1


# -- a frozen worker


def test_a_worker_that_wakes_after_its_run_was_taken_changes_nothing_and_ends(shaken):
    alice = shaken.api("alice")
    with only_dies(shaken):
        run = alice.post("/api/runs", json={"workflow": "acme-nap", "input": {"seconds": 1.5}}).json()["id"]
        until(lambda: any(line.endswith("doze 1") for line in ran(shaken, {run: ""})), 10)
        asleep = shaken.worker_process(run)
        with frozen(asleep):
            until(lambda: look(shaken, run)["status"] == "succeeded", 20)
            entries = journal(shaken, run)
            assert [entry["kind"] for entry in entries] == ["checkpoint", "worker_lost", "checkpoint", "checkpoint", "ended"]
            assert not is_gone(asleep)
        until(lambda: is_gone(asleep), 10)
        assert journal(shaken, run) == entries
    assert ran(shaken, {run: ""}) == {f"{run} doze 1": 1, f"{run} doze 2": 1, f"{run} wake": 1}


# -- a decision


@pytest.mark.parametrize("victim", ["uvicorn", "redis-server", "postgres", "celery"])
def test_a_decision_is_there_or_was_never_acknowledged_whatever_dies_meanwhile(shaken, victim):
    """Eight people answer at once, and one part of Holdfast is killed at a random moment of that."""
    orders = [f"D-{victim}-{number}" for number in range(8)]
    gates = [_asked(shaken, order) for order in orders]
    with ThreadPoolExecutor(len(gates)) as crowd:
        sent = [crowd.submit(_answered, shaken, gate) for gate in gates]
        time.sleep(random.uniform(0, 0.12))
        pid = postmaster(shaken) if victim == "postgres" else process(shaken, victim)
        os.kill(pid, signal.SIGKILL)
        told = [one.result() for one in sent]
    until(lambda: ready(shaken)[0] == 200, 40)
    for gate, acknowledged in zip(gates, told, strict=True):
        found = shaken.api("bob").get(f"/api/gates/{gate['id']}").json()
        run = look(shaken, gate["run"])
        assert found["status"] == "decided" or not acknowledged, found
        assert (found["status"] == "open") is (run["status"] == "waiting"), run  # never half
        assert len(found["decisions"]) == (found["status"] == "decided")
        if found["status"] == "open":
            assert _answered(shaken, found)
    until(lambda: all(look(shaken, gate["run"]).get("status") == "succeeded" for gate in gates), 45)
    counts = httpx.get(shaken.sandbox + "/counts").json()["refund"]
    assert [counts[order] for order in orders] == [1] * len(orders)


def _asked(stack: Stack, order: str) -> dict[str, Any]:
    made = stack.api("alice").post("/api/runs", json={"workflow": "refund", "input": {"order": order, "amount": 400}}).json()
    waiting = stack.finish(made["id"], stack.api("alice"))
    found: dict[str, Any] = stack.api("bob").get(f"/api/gates/{waiting['gates'][0]['id']}").json()
    return found


def _answered(stack: Stack, gate: dict[str, Any]) -> bool:
    """Whether the decision was acknowledged."""
    body = {"verdict": "approve", "version": gate["version"], "proposal_hash": gate["proposal_hash"]}
    headers = {"Authorization": f"Bearer {stack.token('bob')}"}
    try:
        return (
            httpx.post(f"{stack.url}/api/gates/{gate['id']}/decisions", json=body, headers=headers, timeout=20).status_code
            == 201
        )
    except httpx.TransportError:
        return False
