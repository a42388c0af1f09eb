"""SIGKILL between any two statements that matter: no run is lost, and every effect happens exactly once.

Where nothing can be looked up a person is asked, and answers with the truth. ``make soak`` runs each row 20 times and more.
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection

from approvals.models import Gate
from approvals.services.deciding import decide
from demo import client, sandbox
from engine import sweeper
from engine.services import controls, starting
from runs.models import Run
from tests.crashes import workflows
from tests.crashes.workflows import PARTS, SIZE

TIMES = int(os.environ.get("HOLDFAST_CRASH_TIMES", "1"))
ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.django_db(transaction=True)

# workflow, what dies (in turn), the point, at its n-th passage
MATRIX = [
    ("crash-pay", "work", "before the claim", 1),
    ("crash-pay", "work", "after the claim", 1),
    ("crash-pay", "work", "before the step", 1),
    ("crash-pay", "work", "after the step, before its commit", 1),
    ("crash-pay", "work", "after the commit", 1),
    ("crash-pay", "work", "while opening the gate", 1),
    ("crash-pay", "decide", "in the decision", 1),
    ("crash-pay", "decide", "after the decision, before the bell", 1),
    ("crash-pay", "decide on a page", "as a page's decision is put off", 1),
    ("crash-pay", "carry out", "after the claim", 1),
    ("crash-pay", "carry out", "before a decision is carried out", 1),
    ("crash-pay", "carry out", "while a decision is carried out", 1),
    ("crash-pay", "carry out", "after a decision is carried out", 1),
    ("crash-pay", "sweep", "in the sweep, as the clock decides", 1),
    ("crash-pay", "resume", "before the step", 1),
    ("crash-pay", "resume", "before a request", 1),
    ("crash-pay", "resume", "after the request, reply lost", 1),
    ("crash-pay", "resume", "after the step, before its commit", 1),
    ("crash-pay", "resume", "after the commit", 1),
    ("crash-pay", "resume", "after the commit", 2),
    ("crash-pay", "verify", "in verify", 1),
    ("crash-pay", "verify", "after verify, before it is noted", 1),
    ("crash-pay", "takeover", "in the takeover", 1),
    ("crash-pay", "start", "while a run is started", 1),
    ("crash-contacts", "work", "before a request", 1),
    ("crash-contacts", "work", "after the request, reply lost", 4),
    ("crash-contacts", "work", "after the request, reply lost", SIZE),
    ("crash-contacts", "work", "after the step, before its commit", 1),
    ("crash-contacts stale", "work", "after the request, reply lost", 4),
    ("crash-letter", "work", "before the step", 1),
    ("crash-letter", "work", "after ctx.save", 1),
    ("crash-letter", "work", "after the request, reply lost", 1),
    ("crash-letter", "work", "after the step, before its commit", 1),
    ("crash-parts", "work", "while branches are sent", 1),
    ("crash-parts", "work", "before a request", 2),
    ("crash-parts", "work", "after the request, reply lost", 2),
    ("crash-parts", "work", "after a branch's step, before its commit", 1),
    ("crash-parts", "work", "after a branch's commit, which took the next", 2),
    ("crash-parts", "work", "after a branch's commit, which took the next", PARTS),
    ("crash-parts", "work", "while the run comes to its join", 1),
    ("crash-parts", "work", "after the step, before its commit", 1),  # what the branches brought
    ("crash-parts", "work", "after the commit", 1),
    ("crash-parts", "work", "while it goes to sleep", 1),
    ("crash-parts", "undo", "before an effect is undone", 2),
    ("crash-parts", "undo", "before a request", 1),
    ("crash-parts", "undo", "after the request, reply lost", 2),
    ("crash-parts", "undo", "after an effect is undone, before that is noted", PARTS),
    ("crash-parts", "undo", "after it is noted", 2),
    ("crash-parts", "undo", "as the roll back ends", 1),
]


class Dying:
    """Orders for a process that has everything imported and forks the one that dies (crashes/zygote.py)."""

    def __init__(self, sandbox_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.zygote", connection.settings_dict["NAME"]],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "HOLDFAST_SANDBOX_URL": sandbox_url},
        )  # fmt: skip

    def order(self, do: str, point: str, nth: int, **more: object) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, "point": point, "nth": nth, **more}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The service outside, which keeps count."""
    server = sandbox.serve(0, tmp_path_factory.mktemp("sandbox"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOLDFAST_SANDBOX_URL", f"http://127.0.0.1:{server.server_address[1]}")
        client._client.cache_clear()
        yield os.environ["HOLDFAST_SANDBOX_URL"]
        client._client(os.getpid()).close()
        client._client.cache_clear()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def dying(world, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        process = Dying(world)
    yield process
    process.stop()


@pytest.fixture
def survivors(people, worker, monkeypatch):
    """Whoever is left: a sweeper, a worker, people who answer with the truth. Returns how often a person was asked."""
    monkeypatch.setattr(sweeper, "SETTLE_AFTER_START", 0.0)

    def carry_on(run):
        asked, end = 0, time.monotonic() + 30
        while not Run.objects.get(pk=run.pk).is_final:
            assert time.monotonic() < end, Run.objects.values().get(pk=run.pk)
            sweeper.Sweeper().sweep()
            worker(run)
            for gate in Gate.objects.filter(run=run).open():
                asked += gate.kind == "outcome"
                _answer(gate, people)
        return asked

    return carry_on


def _answer(gate, people, channel="api"):
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash, "channel": channel}
    if gate.kind == "outcome":
        truth = "happened" if counted(gate.run) else "not_happened"
        decide(gate.pk, by=people.alice, verdict=truth, **seen)
    else:
        decide(gate.pk, by=people.bob, verdict="approve", **seen)


def counted(run):
    """How often each of the run's effects really happened."""
    counts = client.call("GET", "/counts")
    mine = [number for kind in counts.values() for name, number in kind.items() if name.endswith(run.input["name"])]
    return Counter(mine)


@pytest.mark.parametrize("time_", range(TIMES))
@pytest.mark.parametrize("name, who, point, nth", MATRIX)
def test_a_death_at_this_point_loses_nothing_and_doubles_nothing(
    make_run, people, worker, dying, survivors, record_property, name, who, point, nth, time_
):
    workflow, _, stale = name.partition(" ")
    given = {"name": uuid.uuid4().hex, "stale": 0.2 if stale else 0.0}
    if who == "start":
        key = given["name"]
        assert dying.order("start", point, nth, workflow=workflow, input=given, key=key) == -9
        assert not Run.objects.filter(idempotency_key=key).exists()
        run, _ = starting.start(workflow=workflow, input=given, by=people.alice, idempotency_key=key)
    else:
        run = make_run(workflow, **given)
        assert _kill(run, who, point, nth, dying, worker, people) == -9
    asked = survivors(run)
    effects = {"crash-contacts": SIZE, "crash-parts": PARTS}.get(workflow, 1)
    found, expected = counted(run), Counter({1: 2 * effects if who == "undo" else effects})
    run.refresh_from_db()
    assert (run.status, found) == ("rolled_back" if who == "undo" else "succeeded", expected)
    assert run.checkpoints.filter(step="receive").count() == (workflow == "crash-parts")
    assert bool(asked) == (workflow == "crash-letter")
    row = f"{name}: {who} dies {point}" + (f" ({nth}.)" if nth > 1 else "")
    record_property("crash", [row, "a person was asked" if asked else "went on by itself"])  # printed at the end (conftest.py)


def _kill(run, who, point, nth, dying, worker, people):
    """Bring the run to where the death is to happen, and let it happen. Returns how the process ended."""
    if who == "undo":
        while Run.objects.get(pk=run.pk).status != "succeeded":
            worker(run)
        controls.roll_back(run.pk, by=people.carol)
    if who in ("decide", "decide on a page", "carry out", "sweep", "resume", "verify"):
        worker(run)
        gate = Gate.objects.get(run=run)
        if who.startswith("decide"):
            return dying.order("decide", point, nth, run=str(run.pk), channel="page" if "page" in who else "api")
        if who == "carry out":
            _answer(gate, people, channel="page")
            Run.objects.filter(pk=run.pk).update(available_at="2020-01-01T00:00Z")  # the seconds to take it back are over
            return dying.order("work", point, nth, run=str(run.pk))
        if who == "sweep":
            Gate.objects.filter(pk=gate.pk).update(due_at="2020-01-01T00:00Z")
            return dying.order("sweep", point, nth)
        _answer(gate, people)
    if who == "verify":
        assert dying.order("work", "after the request, reply lost", 1, run=str(run.pk)) == -9
        sweeper.Sweeper().take_over()
    if who == "takeover":
        assert dying.order("work", "after the claim", 1, run=str(run.pk)) == -9
        return dying.order("sweep", point, nth)
    return dying.order("work", point, nth, run=str(run.pk))


def test_a_write_that_lands_five_seconds_after_the_death_is_not_repeated(make_run, dying, survivors):
    """The request is in flight when the worker dies; ``settle`` (6 s here) is longer than the service can take."""
    run = make_run("crash-late", name=uuid.uuid4().hex, late=5.0)
    began = time.monotonic()
    answer: list[int] = []
    thread = threading.Thread(target=lambda: answer.append(dying.order("work", "before a request", 2, run=str(run.pk))))
    thread.start()
    while time.monotonic() - began < 5 and not workflows_in_flight(run):
        time.sleep(0.02)
    time.sleep(0.3)
    kill_holder(run)
    thread.join()
    assert answer == [-9]
    assert counted(run) == Counter()
    survivors(run)
    run.refresh_from_db()
    assert (run.status, counted(run)) == ("succeeded", Counter({1: 1}))


def workflows_in_flight(run):
    return Run.objects.filter(pk=run.pk, step_started_at__isnull=False, worker__isnull=False).exists()


def kill_holder(run):
    """SIGKILL whoever holds the run's lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
            "AND ((l.classid::bigint << 32) | l.objid::bigint) = (SELECT worker FROM runs_run WHERE id = %s)", [run.pk]
        )  # fmt: skip
        os.kill(int(cursor.fetchone()[0].split()[-1]), 9)


assert workflows.pay  # imported to be registered here too
