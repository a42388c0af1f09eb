"""Five seconds in which a page's decision can be taken back. It is durable all the same."""

from datetime import timedelta

import pytest

from approvals.models import Decision, Gate
from approvals.refusals import GateChanged, InvalidDecision, NotYours, TooLate
from approvals.services.taking_back import take_back
from engine.services import controls
from engine.sweeper import Sweeper
from runs.models import Branch, Run
from tests import flows, part_flows
from tests.conftest import kinds
from workflows import Policy

pytestmark = pytest.mark.django_db
LATER = "6 seconds"


def run_of(gate):
    return Run.objects.get(pk=gate.pk if isinstance(gate, Run) else gate.run_id)


def undo(gate, decision, by):
    return take_back(gate.pk, decision.pk, by=by)


def test_what_a_page_decides_is_carried_out_five_seconds_later(make_gate, answer, worker, at, quiet_bells):
    gate = make_gate()
    quiet_bells.clear()
    answer(gate, "bob", "approve", channel="page")
    run = run_of(gate)
    assert (run.status, run.step, quiet_bells) == ("queued", "boss", [])
    assert run.available_at - run.updated_at > timedelta(seconds=4.9)
    assert worker(run) is False  # nobody can take it before
    at(LATER)
    Sweeper().ring()
    assert quiet_bells == [run.pk]  # whatever became of the process that took the decision
    while worker(run):
        pass
    assert (run_of(gate).status, flows.calls) == ("succeeded", ["prepare", "pay 400"])
    assert kinds(run)[2:] == ["gate_opened boss", "decided boss", "checkpoint boss", "checkpoint pay", "ended"]


@pytest.mark.parametrize(
    ("verdict", "more", "status", "calls"),
    [
        ("approve", {}, "succeeded", ["prepare", "pay 400"]),
        ("edit", {"args": {"amount": 300}}, "succeeded", ["prepare", "pay 300"]),
        ("reject", {"comment": "no"}, "rejected", ["prepare"]),
        ("respond", {"comment": "look again"}, "waiting", ["prepare", "prepare"]),
    ],
)
def test_each_verdict_can_be_taken_back_and_given_again(make_gate, answer, people, worker, at, verdict, more, status, calls):
    gate = make_gate()
    before = (gate.version, gate.proposal_hash, gate.action)
    first = answer(gate, "bob", verdict, channel="page", **more)
    again = undo(gate, first, people.bob)
    assert (again.status, again.proposal_hash, again.action) == ("open", *before[1:]) and again.version > before[0]
    assert (run_of(gate).status, run_of(gate).pause, flows.calls) == ("waiting", None, ["prepare"])
    with pytest.raises(GateChanged):  # the form that was sent is sent again
        answer(gate, "bob", verdict, version=before[0], proposal_hash=before[1], **more)
    answer(gate, "bob", verdict, channel="page", **more)
    at(LATER)
    while worker(gate.run):
        pass
    assert (run_of(gate).status, flows.calls) == (status, calls)
    assert gate.decisions.count() == 2  # a row was added, none was deleted


def test_only_who_decided_can_take_it_back_and_only_until_something_has_followed(make_gate, answer, people, worker, at):
    gate = make_gate()
    decision = answer(gate, "bob", "approve", channel="page")
    with pytest.raises(NotYours):
        undo(gate, decision, people.erin)
    at(LATER)
    while worker(gate.run):
        pass
    with pytest.raises(TooLate):
        undo(gate, decision, people.bob)
    gate = make_gate()
    decision = answer(gate, "bob", "approve")  # by the API: at once
    with pytest.raises(TooLate):
        undo(gate, decision, people.bob)
    with pytest.raises(Decision.DoesNotExist):
        take_back(gate.pk, 0, by=people.bob)


def test_a_vote_can_be_taken_back_while_the_gate_is_open(make_gate, answer, people):
    gate = make_gate("t-quorum", amount=7)
    version = gate.version
    decision = answer(gate, "bob", "approve")
    assert undo(gate, decision, people.bob).version == version  # others' forms are as good as before
    with pytest.raises(TooLate):
        undo(gate, decision, people.bob)
    answer(gate, "erin", "approve")
    assert Gate.objects.get(pk=gate.pk).is_open
    answer(gate, "bob", "approve")
    assert not Gate.objects.get(pk=gate.pk).is_open


def test_an_edit_that_is_taken_back_lets_the_votes_before_it_count_again(make_gate, answer, people):
    gate = make_gate("t-quorum", amount=7)
    answer(gate, "bob", "approve")
    edit = answer(gate, "erin", "edit", args={"amount": 9})
    answer(gate, "carol", "approve", channel="page")  # for the edited amount
    gate.refresh_from_db()
    assert not gate.is_open
    with pytest.raises(NotYours):
        undo(gate, edit, people.carol)
    again = undo(gate, edit, people.erin)
    assert (again.is_open, again.action["args"], "proposed" in again.action) == (True, {"amount": 7}, False)
    assert [vote.by_name for vote in gate.decisions.standing()] == ["bob"]


def test_one_of_several_gates_can_be_taken_back_while_the_others_are_open(ask, answer, people, worker, at):
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, policy)
    second = first.run.gates.get(ordinal=1)
    decision = answer(first, "bob", "reject")
    undo(first, decision, people.bob)
    answer(second, "bob", "approve")
    assert run_of(first).status == "waiting"
    answer(first, "bob", "approve", channel="page")
    at(LATER)
    while worker(first.run):
        pass
    assert run_of(first).status == "succeeded"


def test_a_run_that_is_held_or_cancelled_in_those_seconds_is_held_or_cancelled(make_gate, answer, people, worker, at):
    gate = make_gate()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.hold(gate.run_id, by=people.alice)
    with pytest.raises(TooLate):
        undo(gate, decision, people.bob)
    at(LATER)
    assert worker() is False
    from engine.services.starting import InputInvalid

    with pytest.raises(InputInvalid, match="still to be carried out"):
        controls.release(gate.run_id, by=people.alice, changes={"amount": 1})
    controls.release(gate.run_id, by=people.alice)
    while worker(gate.run):
        pass
    assert flows.calls == ["prepare", "pay 400"]
    at("")
    gate = make_gate()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.cancel(gate.run_id, by=people.alice)
    with pytest.raises(TooLate):
        undo(gate, decision, people.bob)
    assert run_of(gate).status == "cancelled"


def test_a_breakpoint_before_the_gate_does_not_keep_its_decision(make_gate, answer, people, worker, at):
    gate = make_gate()
    controls.set_breakpoint(gate.run_id, by=people.alice, step="boss")
    answer(gate, "bob", "approve", channel="page")
    at(LATER)
    while worker(gate.run):
        pass
    assert run_of(gate).status == "succeeded"


def test_an_outcome_can_be_taken_back_and_one_that_the_schema_refuses_is_refused_at_once(make_run, answer, people, worker, at):
    flows.script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("reply lost"))
    run = make_run("t-effect")
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    gate = run.gates.get()
    with pytest.raises(InvalidDecision) as caught:
        answer(gate, "alice", "happened", args={"n": "many"}, channel="page")
    assert "args.n" in caught.value.errors and run_of(gate).status == "waiting"
    decision = answer(gate, "alice", "not_happened", channel="page")
    gate = undo(gate, decision, people.alice)
    answer(gate, "alice", "happened", args={"answer": "seen"}, channel="page")
    at(LATER)
    calls = len(flows.calls)
    while worker(run):
        pass
    assert run_of(gate).status == "succeeded" and flows.calls[calls:] == ["after"]


def test_a_branchs_decision_can_be_taken_back_too(make_run, answer, people, worker, at):
    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    decision = answer(gate, "bob", "approve", channel="page")
    branch = Branch.objects.get(pk=gate.branch_id)
    assert (branch.status, branch.is_decided) == ("queued", True)
    gate = undo(gate, decision, people.bob)
    assert gate.is_open and Branch.objects.get(pk=gate.branch_id).status == "waiting"
    Sweeper().settle()
    assert run_of(run).status == "waiting"
    answer(gate, "bob", "approve", channel="page")
    at(LATER)
    while worker(run):
        pass
    assert run_of(run).status == "succeeded"
