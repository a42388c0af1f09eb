"""Two at once, in a fan-out: real threads, real transactions."""

import re
import threading
import time

import pytest
from django.db import connection, connections

from engine import advancing, branch_claim, branches, lease, sweeper
from engine.services import controls, settling, signals
from runs import hot
from runs.models import Branch, Run, Signal
from runs.services.moves import MoveRefused
from tests.conftest import new_lease, together
from tests.flows import calls, script
from workflows import Wait

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workers(people, monkeypatch):
    """As many workers as there are threads, each with a lease of its own."""
    held, local = [], threading.local()

    def hold():
        if not hasattr(local, "key"):
            local.key, connection_ = new_lease()
            held.append(connection_)
        return local.key

    monkeypatch.setattr(lease, "hold", hold)
    yield hold
    for one in held:
        one.close()


@pytest.fixture
def sent(make_run, workers, monkeypatch):
    """A run whose branches are sent, and in nobody's hands yet."""

    def send(**given):
        run = make_run("t-fan", **given)
        with monkeypatch.context() as patch:
            patch.setattr(branches, "carry", lambda run_id, worker: False)
            advancing.advance(run.pk)
        return run

    return send


def test_the_last_two_branches_finish_together_and_the_join_runs_once(sent):
    """Each of two workers has one of the last two branches; both let go of it at one moment."""
    for _ in range(5):
        calls.clear()
        meeting = threading.Barrier(2)
        script["part"] = lambda state, ctx, arg, meeting=meeting: [meeting.wait(5), None][1]
        run = sent(size=2)
        assert together(2, lambda number, run=run: advancing.advance(run.pk)) == [True, True]
        end = time.monotonic() + 5
        while Run.objects.get(pk=run.pk).status != "succeeded" and time.monotonic() < end:
            advancing.advance(run.pk)
        run.refresh_from_db()
        assert run.status == "succeeded"
        assert calls.count("join") == 1
        assert run.checkpoints.filter(step__in=("part", "join")).count() == 2
        assert sorted(call for call in calls if call.startswith("part")) == ["part 0", "part 1"]


def test_many_workers_take_each_branch_once(sent):
    script["part"] = lambda state, ctx, arg: time.sleep(0.002)
    run = sent(size=60)
    together(6, lambda number: advancing.advance(run.pk))
    while Run.objects.get(pk=run.pk).status != "succeeded":
        advancing.advance(run.pk)
    assert sorted(calls) == sorted(["split", "join", *(f"part {number}" for number in range(60))])


def test_never_more_than_max_parallel_at_once(sent):
    now, most, lock = [0], [0], threading.Lock()

    def count(state, ctx, arg):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    script["part"] = count
    run = sent(size=30, parallel=2)
    together(6, lambda number: advancing.advance(run.pk))
    while Run.objects.get(pk=run.pk).status != "succeeded":
        advancing.advance(run.pk)
    assert most[0] == 2
    assert calls.count("join") == 1


def test_a_hold_that_has_committed_starts_no_branch(make_run, workers, people, monkeypatch):
    """The hold commits between the statement that takes the next branch and its step."""
    run = make_run("t-fan", size=6)
    real = hot.then
    held: list[bool] = []

    def then(first, after):
        if not held and "finished" in first[0]:
            held.append(True)
            thread = threading.Thread(target=lambda: (controls.hold(run.pk, by=people.alice), connections.close_all()))
            thread.start()
            thread.join()
        return real(first, after)

    monkeypatch.setattr(hot, "then", then)
    advancing.advance(run.pk)
    run.refresh_from_db()
    assert run.status == "held"
    assert [call for call in calls if call.startswith("part")] == ["part 0"]
    assert Branch.objects.filter(run=run, status="running").count() == 0


def test_cancelling_while_branches_finish_ends_in_one_way(make_run, workers, people):
    for _ in range(5):
        script["part"] = lambda state, ctx, arg: time.sleep(0.003)
        run = make_run("t-fan", size=8)

        def act(number, run=run):
            if number:
                return advancing.advance(run.pk)
            time.sleep(0.01)
            try:
                return controls.cancel(run.pk, by=people.alice) and "cancelled"
            except MoveRefused:
                return "too late"

        together(3, act)
        for _ in range(20):
            sweeper.Sweeper().sweep()
            advancing.advance(run.pk)
        run.refresh_from_db()
        assert run.status in ("cancelled", "succeeded")
        assert run.events.filter(kind="ended").count() == 1
        assert Branch.objects.filter(run=run, status="running").count() == 0


def test_two_retries_of_a_failed_fan_out_are_one(make_run, workers, people):
    def fail(state, ctx, arg):
        raise ValueError("broken")

    script["part"] = fail
    run = make_run("t-fan", size=2)
    for _ in range(3):
        advancing.advance(run.pk)
    assert Run.objects.get(pk=run.pk).status == "failed"
    results = together(2, lambda number: controls.retry(run.pk, by=people.alice))
    assert sorted(type(result).__name__ for result in results) == ["MoveRefused", "Run"]


def test_a_signal_and_the_timeout_meet(make_run, workers, people):
    """Whoever is second finds what the first has done: the signal is read, or kept, and never lost."""
    for _ in range(6):
        run = make_run("t-pausing", size=0)
        Run.objects.filter(pk=run.pk).update(step="settle")
        advancing.advance(run.pk)
        assert Run.objects.get(pk=run.pk).signal_name == "settled"
        Run.objects.filter(pk=run.pk).update(available_at="2020-01-01T00:00Z")
        together(2, lambda number, run=run: (
            advancing.advance(run.pk) if number else signals.send(run.pk, by=people.alice, name="settled", payload="x")
        ))  # fmt: skip
        for _ in range(3):
            advancing.advance(run.pk)
        run.refresh_from_db()
        signal = Signal.objects.filter(run=run).first()
        assert run.status == "succeeded"
        read = run.checkpoints.order_by("-seq").first().values()["summary"] == "x"
        assert signal is None or (signal.visit is not None) == read


def test_one_signal_wakes_one_of_several_branches(make_run, workers, people):
    script["part"] = lambda state, ctx, arg: Wait("go", goto="further")
    run = make_run("t-fan", size=3)
    advancing.advance(run.pk)
    together(2, lambda number: signals.send(run.pk, by=people.alice, name="go"))
    assert sorted(Signal.objects.values_list("branch__index", flat=True)) == [0, 1]


def test_the_claim_of_a_branch_looks_at_few_rows(sent):
    """10,000 branches: taking one is an index's first entry, not a walk over all of them."""
    run = sent(size=10_000)
    fan_out = Run.objects.get(pk=run.pk).fan_out
    values = {"run": f"'{run.pk}'", "fan_out": fan_out and fan_out.pk, "worker": 1, "collects": False, "slot": "NULL"}
    statement = branch_claim._FIRST
    for name, value in values.items():
        statement = statement.replace(f"%({name})s", str(value))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_branch")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        plan = str(cursor.fetchone()[0])
    assert "'Relation Name': 'runs_branch'" in plan
    assert not re.search(r"'Seq Scan'[^{}]*'Relation Name': 'runs_branch'", plan)


def test_settling_twice_at_once_joins_once(make_run, workers, monkeypatch):
    run = make_run("t-fan", size=1)
    with monkeypatch.context() as patch:
        patch.setattr(settling, "settle", lambda run_id: False)
        advancing.advance(run.pk)
    assert Run.objects.get(pk=run.pk).status == "running"
    assert sorted(together(4, lambda number: settling.settle(run.pk))) == [False, False, False, True]
    assert Run.objects.get(pk=run.pk).status == "queued"


@pytest.fixture
def slow_take(db):
    """Every statement that takes a branch lasts half a second between its snapshot and its commit."""
    nap = """
        CREATE OR REPLACE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
        CREATE TRIGGER nap BEFORE UPDATE ON runs_branch FOR EACH ROW
        WHEN (OLD.status = 'queued' AND NEW.status = 'running') EXECUTE FUNCTION nap()
    """
    with connection.cursor() as cursor:
        cursor.execute(nap)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER nap ON runs_branch; DROP FUNCTION nap()")


@pytest.mark.parametrize("asked", ["hold", "cancel", "roll_back"])
def test_what_was_asked_while_a_branch_is_taken_keeps_its_step_from_starting(sent, people, slow_take, asked):
    run = sent(size=1)

    def ask():
        time.sleep(0.2)
        getattr(controls, asked)(run.pk, by=people.carol)
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    advancing.advance(run.pk)
    thread.join()
    run.refresh_from_db()
    assert calls == ["split"]
    assert run.status in {"hold": ("held",), "cancel": ("cancelled",), "roll_back": ("rolling_back", "rolled_back")}[asked]
    assert Branch.objects.get(run=run).status == "queued"
