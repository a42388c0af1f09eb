"""An effect that may have acted is never simply tried again."""

from datetime import timedelta

import pytest

from engine.services import controls, takeover
from runs.clock import Now
from runs.models import Run
from tests import flows
from tests.conftest import die, kinds, new_lease
from workflows import Ambiguous

pytestmark = pytest.mark.django_db


def lose(run: Run) -> None:
    """As if the worker had died in the middle of the step."""
    key, held = new_lease()
    Run.objects.filter(pk=run.pk).update(status="running", worker=key, claim=7, step_started_at=Now())
    die(held)
    assert takeover.take_over(run.pk, key, 7)


def acts() -> int:
    return sum(call.startswith("act ") for call in flows.calls)


def test_one_that_happened_before_the_crash_is_not_repeated(make_run, worker):
    flows.script["verify"] = "happened"
    run = make_run("t-effect")
    lose(run)
    worker(run)
    run.refresh_from_db()
    assert (run.status, flows.calls) == ("succeeded", ["verify", "after"])
    assert kinds(run) == [
        "checkpoint",
        "worker_lost act",
        "verified act",
        "checkpoint act",
        "checkpoint after",
        "ended",
    ]


def test_one_that_did_not_happen_runs_again_with_the_same_key(make_run, worker):
    def lost():
        raise Ambiguous("no reply")

    flows.script |= {"act": lost, "verify": "not"}
    run = make_run("t-effect")
    worker(run)
    worker(run)
    keys = {call for call in flows.calls if call.startswith("act ")}
    assert (acts(), len(keys)) == (2, 1)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_not_happened_is_believed_only_after_settling(make_run, worker, monkeypatch):
    import dataclasses

    slow = dataclasses.replace(flows.effect.steps["act"], settle=30.0)
    monkeypatch.setitem(flows.effect.steps, "act", slow)
    flows.script["verify"] = "not"
    run = make_run("t-effect")
    lose(run)
    worker(run)
    run.refresh_from_db()
    assert (run.status, acts()) == ("queued", 0)
    Run.objects.filter(pk=run.pk).update(doubt_at=Now() - timedelta(seconds=31), available_at=Now())
    worker(run)
    assert acts() == 1


def test_an_unknown_outcome_asks_an_operator(make_run, worker, answer):
    run = make_run("t-effect")
    lose(run)
    worker(run)
    gate = run.gates.get()
    assert (gate.kind, gate.verdicts) == ("outcome", ["happened", "not_happened", "fail"])
    assert gate.context["answers"][0]["answer"] == "unknown"
    answer(gate, "alice", "happened", args={"answer": "r-17"})
    worker(run)
    run.refresh_from_db()
    assert (run.status, acts()) == ("succeeded", 0)
    assert run.checkpoints.get(step="act").values()["answer"] == "r-17"


def test_an_operator_who_says_no_has_it_run_again(make_run, worker, answer):
    run = make_run("t-effect")
    lose(run)
    worker(run)
    answer(run.gates.get(), "alice", "not_happened")
    worker(run)
    assert acts() == 1


def test_partly_is_kept_and_the_rest_is_done(make_run, worker):
    flows.script["verify"] = "partly"
    run = make_run("t-effect")
    lose(run)
    worker(run)
    assert (acts(), Run.objects.get(pk=run.pk).status) == (0, "queued")  # what is done is kept first
    worker(run)
    run.refresh_from_db()
    assert (run.status, acts()) == ("succeeded", 1)
    assert run.checkpoints.filter(step="act").count() == 2


def test_verify_that_raises_is_unknown(make_run, worker):
    flows.script["verify"] = lambda state, ctx: 1 / 0
    run = make_run("t-effect")
    lose(run)
    worker(run)
    assert "ZeroDivisionError" in run.gates.get().context["answers"][0]["reason"]


def test_an_effect_is_verified_even_when_no_attempt_is_left(make_run, worker):
    def lost():
        raise Ambiguous("no reply")

    run = make_run("t-effect")
    Run.objects.filter(pk=run.pk).update(failures=2, attempt=3)
    flows.script |= {"act": lost, "verify": "happened"}
    worker(run)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_retry_by_an_operator_verifies_first(make_run, worker, people):
    flows.script["act"] = flows.permanent
    run = make_run("t-effect")
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    controls.retry(run.pk, by=people.alice, reason="again")
    worker(run)
    assert acts() == 2  # Permanent says: it certainly did not happen


def test_an_effect_that_keeps_failing_stops_at_its_last_attempt(make_run, worker):
    def broken():
        flows.script["act"] = broken
        raise RuntimeError("a plain bug")

    flows.script |= {"act": broken, "verify": "not"}
    run = make_run("t-effect")
    while worker():
        pass
    run.refresh_from_db()
    assert (run.status, acts()) == ("failed", 3)
    assert "a plain bug" in run.error["message"]


def test_an_effect_whose_result_is_refused_has_happened_and_is_verified_before_a_retry(make_run, worker, people, monkeypatch):
    import dataclasses

    wrong = dataclasses.replace(
        flows.effect.steps["act"], function=lambda state, ctx: flows.calls.append("act x") or {"n": "x"}
    )
    monkeypatch.setitem(flows.effect.steps, "act", wrong)
    run = make_run("t-effect")
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "'n': 'x'" in run.events.get(kind="attempt_failed").as_entry()["detail"]["returned"]
    flows.script["verify"] = "happened"
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, acts()) == ("succeeded", 1)


def test_an_outcome_gate_that_failed_the_run_is_not_forgotten_by_a_retry(make_run, worker, answer, people):
    run = make_run("t-effect")
    lose(run)
    worker(run)
    answer(run.gates.get(), "alice", "fail")
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, acts(), run.gates.count()) == ("waiting", 0, 2)


def test_a_cancel_learns_first_what_became_of_an_effect_in_flight(make_run, worker, people):
    flows.script["verify"] = "happened"
    run = make_run("t-effect")
    key, held = new_lease()
    Run.objects.filter(pk=run.pk).update(status="running", worker=key, claim=7, step_started_at=Now())
    controls.cancel(run.pk, by=people.alice)
    die(held)
    assert takeover.take_over(run.pk, key, 7)
    worker(run)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert kinds(run)[2:] == ["worker_lost act", "verified act", "checkpoint act", "cancelled after", "ended"]


def test_what_a_person_says_happened_is_joined_as_a_result_is(make_run, worker, answer):
    run = make_run("t-effect", log=["one"])
    lose(run)
    worker(run)
    answer(run.gates.get(), "alice", "happened", args={"log": ["paid"]})
    assert run.checkpoints.get(step="act").values()["log"] == ["one", "paid"]
