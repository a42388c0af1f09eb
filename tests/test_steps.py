"""The step loop: order, results, failures, and what the journal says of them."""

import pytest

from engine import advancing
from runs import reading
from runs.models import Run
from tests import flows
from tests.conftest import kinds
from workflows import Goto, Permanent, Replace

pytestmark = pytest.mark.django_db


def test_steps_run_in_order_sync_and_async(make_run, worker):
    run = make_run("t-line")
    worker(run)
    run.refresh_from_db()
    assert (run.status, flows.calls) == ("succeeded", ["one", "two", "three"])
    assert kinds(run) == ["checkpoint", "checkpoint one", "checkpoint two", "checkpoint three", "ended"]
    shown = reading.run_in_full(run)
    assert shown["output"] == {"n": 0, "total": 5, "log": ["one", "two"], "until": 3, "amount": 0, "answer": ""}
    assert shown["usage"] == {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.01}
    lines, following = reading.logs(run, after=-1, limit=10)
    assert [(line["seq"], line["message"], line["fields"]) for line in lines] == [(1, "in one", {"n": 0})]
    assert following is None


def test_a_loop_goes_round_and_ends_early(make_run, worker):
    run = make_run("t-loop", until=5)
    worker(run)
    run.refresh_from_db()
    assert (run.status, reading.output(run)["n"]) == ("succeeded", 5)
    assert kinds(run).count("checkpoint again") == 5


def test_a_transient_failure_is_tried_again_and_told(make_run, worker):
    flows.script["failures"] = 2
    run = make_run("t-flaky")
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert kinds(run) == ["checkpoint", "attempt_failed unsure", "attempt_failed unsure", "checkpoint unsure", "ended"]
    assert [row.attempt for row in run.events.filter(kind="attempt_failed")] == [1, 2]


def test_the_last_attempt_fails_the_run(make_run, worker):
    flows.script["failures"] = 99
    run = make_run("t-flaky")
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert (run.status, run.error["type"], run.error["attempt"]) == ("failed", "Transient", 3)
    assert kinds(run)[-2:] == ["attempt_failed unsure", "ended unsure"]
    assert worker() is False


def test_a_permanent_failure_is_not_tried_again(make_run, worker):
    def fail(state, ctx):
        raise Permanent("the account is closed\0")

    flows.script["fail"] = fail
    run = make_run("t-flaky")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.error["message"]) == ("failed", "the account is closed␀")


@pytest.mark.parametrize(
    ("do", "word"),
    [
        (lambda state, ctx: {"zzz": 1}, "no such field"),
        (lambda state, ctx: {"n": "many"}, "n: "),
        (lambda state, ctx: {"answer": "\0"}, "NUL"),
        (lambda state, ctx: Goto("nowhere"), "nowhere"),
        (lambda state, ctx: 5, "returned int"),
        (lambda state, ctx: {"n": state.total}, "needs"),
        (lambda state, ctx: {"log": 3}, "Append expects list"),
        (lambda state, ctx: ctx.log("x", level="shout"), "shout"),
        (lambda state, ctx: {"answer": Replace(3)}, "answer"),
    ],
)
def test_a_bad_result_fails_the_step_with_the_field_named(make_run, worker, do, word):
    flows.script["do"] = do
    run = make_run("t-strict")
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert word in run.error["message"]
    assert run.checkpoints.count() == 1


def test_a_list_changed_in_place_fails_the_step(make_run, worker):
    def fail(state, ctx):
        state.log.append("sneaked in")

    flows.script["fail"] = fail
    run = make_run("t-flaky")
    worker(run)
    run.refresh_from_db()
    assert run.error["type"] == "StateChangedInPlace"


def test_a_broad_except_does_not_swallow_the_timeout(make_run, worker, monkeypatch):
    import dataclasses
    import time

    def hang(state, ctx):
        try:
            time.sleep(5)
        except Exception:
            return

    flows.script["fail"] = hang
    quick = dataclasses.replace(flows.flaky.steps["unsure"], timeout=0.1)
    monkeypatch.setitem(flows.flaky.steps, "unsure", quick)
    run = make_run("t-flaky")
    worker(run)
    event = run.events.get(kind="attempt_failed")
    assert event.as_entry()["detail"]["error"]["type"] == "StepTimeout"


def test_a_step_that_is_gone_holds_the_run_with_the_remedy(make_run, worker):
    run = make_run("t-line")
    Run.objects.filter(pk=run.pk).update(step="renamed")
    worker(run)
    run.refresh_from_db()
    assert run.status == "held"
    assert 'was=["renamed"]' in run.reason


def test_a_workflow_that_is_gone_holds_the_run(make_run, worker):
    run = make_run("t-line")
    Run.objects.filter(pk=run.pk).update(workflow="t-gone")
    worker(run)
    run.refresh_from_db()
    assert run.status == "held"
    assert "Deploy the app" in run.reason


def test_a_stretch_yields_to_others_that_are_due(make_run, worker, settings, monkeypatch):
    settings.HOLDFAST_STRETCH = -1.0
    first, second = make_run("t-line"), make_run("t-line")
    assert first.pk != second.pk
    advancing.advance(first.pk)
    first.refresh_from_db()
    assert (first.status, first.step) == ("queued", "one")


def test_asks_open_gates_that_are_answered_in_any_order(make_run, worker, answer):
    run = make_run("t-ask")
    worker(run)
    gates = list(run.gates.order_by("ordinal"))
    assert [gate.key for gate in gates] == ["ask-1", "second"]
    answer(gates[1], "bob", "reject")
    run.refresh_from_db()
    assert (run.status, gates[0].status) == ("waiting", "open")
    answer(gates[0], "bob", "approve")
    worker(run)
    run.refresh_from_db()
    assert reading.output(run)["answer"] == "ask-1=approve second=reject"
    assert flows.calls == ["ask"]


@pytest.mark.parametrize(
    "do",
    [
        lambda state, ctx: ctx.usage(input_tokens=10**20),
        lambda state, ctx: {"log": [object()]},
        lambda state, ctx: ctx.log("x", thing=object()),
        lambda state, ctx: (_ for _ in ()).throw(KeyError("\0")),
        lambda state, ctx: Goto("bad", n="x"),
    ],
)
def test_whatever_goes_wrong_in_a_step_ends_in_a_failed_run(make_run, worker, do):
    flows.script["do"] = do
    run = make_run("t-strict")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.worker) == ("failed", None)


def test_a_retry_after_from_outside_cannot_break_the_clock(make_run, worker):
    from workflows import Transient

    def fail(state, ctx):
        raise Transient("busy", retry_after=1e300)

    flows.script["fail"] = fail
    run = make_run("t-flaky")
    worker(run)
    run.refresh_from_db()
    assert run.status == "queued"
    assert run.available_at > run.updated_at


def test_a_timeout_inside_a_query_is_a_timeout_and_no_lost_worker(transactional_db, make_run, worker, monkeypatch):
    import dataclasses

    from django.db import connection

    def hang(state, ctx):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    flows.script["fail"] = hang
    monkeypatch.setitem(flows.flaky.steps, "unsure", dataclasses.replace(flows.flaky.steps["unsure"], timeout=0.2))
    run = make_run("t-flaky")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.failures, run.losses) == ("queued", 1, 0)


def test_a_runaway_loop_is_held_and_a_release_allows_as_much_again(make_run, worker, people):
    from engine.services import controls

    run = make_run("t-bounded", until=8)
    for held_after in (3, 6):
        worker(run)
        run.refresh_from_db()
        assert (run.status, run.limit) == ("held", "max_steps")
        assert kinds(run).count("checkpoint round_") == held_after
        controls.release(run.pk, by=people.alice, reason="it is nearly there")
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    released = run.events.filter(kind="released").first()
    assert released.as_entry()["detail"]["raised"] == {"steps_allowed": "6"}


def test_a_run_that_costs_too_much_is_held(make_run, worker):
    run = make_run("t-bounded", until=3, amount=60)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.limit, kinds(run).count("checkpoint round_")) == ("held", "max_cost_usd", 2)
