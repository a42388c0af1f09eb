"""An approval that has grown stale is asked again, at the same gate, with what has changed."""

from datetime import timedelta

import pytest

from approvals.models import Gate
from approvals.refusals import GateChanged
from approvals.services import timing
from engine.services import controls
from runs.models import Run
from tests import flows
from tests.conftest import kinds
from tests.gate_flows import flaky_price

pytestmark = pytest.mark.django_db


@pytest.fixture
def offered(make_gate):
    return lambda: make_gate("t-fresh", amount=400)


def carried_out(worker, gate):
    while worker(gate.run):
        pass
    gate.refresh_from_db()
    return Run.objects.get(pk=gate.run_id)


def test_what_is_as_it_was_goes_on(offered, answer, worker):
    gate = offered()
    answer(gate, "bob", "approve")
    assert Run.objects.get(pk=gate.run_id).step == "offer"  # not before somebody has looked
    assert carried_out(worker, gate).status == "succeeded"
    assert flows.calls == ["look again at 400", "buy 400"]


def test_the_same_proposal_made_anew_goes_on(offered, answer, worker):
    flows.script["price"] = 400
    gate = offered()
    answer(gate, "bob", "approve")
    assert carried_out(worker, gate).status == "succeeded"


def test_another_price_is_asked_at_the_same_gate_and_the_approval_is_void(offered, answer, worker):
    gate = offered()
    before = gate.version, gate.proposal_hash
    first = answer(gate, "bob", "approve")
    flows.script["price"] = 480
    run = carried_out(worker, gate)
    assert (run.status, run.step, run.pause, flows.calls) == ("waiting", "offer", None, ["look again at 400"])
    assert (gate.status, gate.version, gate.action["args"], gate.title) == (
        "open",
        before[0] + 1,
        {"amount": 480},
        "Buy for 480",
    )
    assert gate.due_at - timing.after({}, gate.opened_at, 3600) < timedelta(seconds=10) and gate.outcome_verdict == ""
    first.refresh_from_db()
    assert first.voided_at is not None
    entry = run.events.get(kind="gate_reopened").facts()
    assert entry["changed"] == {
        "title": {"from": "Buy for 400", "to": "Buy for 480"},
        "action.amount": {"from": 400, "to": 480},
    }
    assert entry["void"] == ["bob"]
    with pytest.raises(GateChanged):
        answer(gate, "erin", "approve", version=before[0], proposal_hash=before[1])
    answer(gate, "bob", "approve")
    assert carried_out(worker, gate).status == "succeeded"
    assert flows.calls == ["look again at 400", "look again at 480", "buy 480"]
    assert kinds(run).count("gate_opened offer") == 1


def test_an_edit_is_compared_by_what_would_be_done_and_not_by_its_words(offered, answer, worker):
    gate = offered()
    flows.script["price"] = 350  # what the editor has made of it
    answer(gate, "bob", "edit", args={"amount": 350})
    assert carried_out(worker, gate).status == "succeeded"
    assert flows.calls == ["look again at 350", "buy 350"]
    gate = offered()
    flows.script["price"] = 420
    answer(gate, "bob", "edit", args={"amount": 350})
    assert carried_out(worker, gate).status == "waiting"
    assert (gate.action["args"], "proposed" in gate.action) == ({"amount": 420}, False)


def test_a_rejection_is_not_looked_at_again(offered, answer, worker):
    gate = offered()
    flows.script["price"] = 480
    answer(gate, "bob", "reject")
    assert carried_out(worker, gate).status == "rejected" and flows.calls == []


def test_a_look_that_fails_is_tried_again_and_nobody_is_asked_twice(offered, answer, worker, at):
    gate = offered()
    flows.script["price"] = flaky_price
    answer(gate, "bob", "approve")
    carried_out(worker, gate)
    at("5 minutes")
    assert carried_out(worker, gate).status == "succeeded"
    assert flows.calls == ["look again at 400", "look again at 400", "buy 400"]


@pytest.mark.parametrize("wrong", ["a text", 3])
def test_a_look_that_makes_no_proposal_fails_the_run_and_a_retry_looks_again(
    offered, answer, worker, people, wrong, monkeypatch
):
    from tests import gate_flows

    gate = offered()
    monkeypatch.setattr(gate_flows, "_offer", lambda amount: wrong)
    flows.script["price"] = 1
    answer(gate, "bob", "approve")
    run = carried_out(worker, gate)
    assert (run.status, run.error["type"]) == ("failed", "BadReturn")
    flows.script["price"] = None
    controls.retry(run.pk, by=people.alice)
    assert carried_out(worker, gate).status == "succeeded"
    assert Gate.objects.filter(run=run).count() == 1


def test_a_retry_with_changes_asks_again(offered, answer, worker, people, monkeypatch):
    from tests import gate_flows

    gate = offered()
    flows.script["price"] = lambda: 1 / 0
    answer(gate, "bob", "approve")
    run = carried_out(worker, gate)
    while run.status == "queued":
        Run.objects.filter(pk=run.pk).update(available_at="2026-01-01T00:00Z")
        run = carried_out(worker, gate)
    assert run.status == "failed" and gate_flows
    controls.retry(run.pk, by=people.alice, changes={"amount": 9})
    assert carried_out(worker, gate).status == "waiting"
    assert run.gates.get(status="open").action["args"] == {"amount": 9}
