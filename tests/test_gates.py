"""A gate as a step, and what each answer leads to."""

from datetime import timedelta

import pytest

from approvals.models import Gate
from approvals.refusals import AlreadyVoted, GateChanged, GateClosed, InvalidDecision, NotYours
from approvals.services import clock
from checkpoints import packing, store
from engine.services import controls
from runs import reading
from runs.clock import Now
from runs.models import Run
from tests import flows
from tests.conftest import kinds
from workflows import registry
from workflows.state import Change

pytestmark = pytest.mark.django_db


def run_of(gate: Gate) -> Run:
    return Run.objects.get(pk=gate.run_id)


def test_the_run_waits_and_names_no_worker(make_gate):
    gate = make_gate()
    run = run_of(gate)
    assert (run.status, run.step, run.worker, flows.calls) == ("waiting", "boss", None, ["prepare"])
    assert kinds(run) == ["checkpoint", "checkpoint prepare", "gate_opened boss"]
    assert gate.context == {"log": ["prepared"]}


def test_a_gate_that_nobody_need_answer_is_passed(make_run, worker):
    run = make_run("t-gated", amount=5)
    worker(run)
    run.refresh_from_db()
    assert (run.status, flows.calls) == ("succeeded", ["prepare", "pay 5"])


def test_approve_goes_on_after_the_gate(make_gate, worker, answer):
    gate = make_gate()
    answer(gate, "bob", "approve", comment="fine")
    worker(gate.run)
    run = run_of(gate)
    assert (run.status, flows.calls) == ("succeeded", ["prepare", "pay 400"])
    assert reading.output(run)["answer"] == "fine"
    assert kinds(run)[2:] == ["gate_opened boss", "decided boss", "checkpoint boss", "checkpoint pay", "ended"]


def test_edit_sets_what_runs(make_gate, worker, answer):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 300})
    worker(gate.run)
    assert flows.calls == ["prepare", "pay 300"]


def test_reject_ends_the_run_and_the_effect_never_runs(make_gate, worker, answer):
    gate = make_gate()
    answer(gate, "bob", "reject", comment="no")
    assert worker() is False
    run = run_of(gate)
    assert (run.status, run.reason, flows.calls) == ("rejected", "no", ["prepare"])


def test_respond_takes_the_words_back_to_the_agent(make_gate, worker, answer):
    gate = make_gate()
    answer(gate, "bob", "respond", comment="look again")
    worker(gate.run)
    run = run_of(gate)
    assert (run.status, flows.calls) == ("waiting", ["prepare", "prepare"])
    assert [g.status for g in run.gates.order_by("opened_at")] == ["decided", "open"]


@pytest.mark.parametrize(
    ("verdict", "more", "field"),
    [
        ("edit", {}, "args"),
        ("edit", {"args": {"amount": "many"}}, "args.amount"),
        ("edit", {"args": {"amount": 1, "zzz": 2}}, "args.zzz"),
        ("approve", {"args": {"amount": 1}}, "args"),
        ("respond", {"comment": "  "}, "comment"),
        ("happened", {"args": {}}, "verdict"),
        ("approve", {"comment": "x" * 10_001}, "comment"),
    ],
)
def test_a_malformed_decision_is_refused_and_writes_nothing(make_gate, answer, verdict, more, field):
    gate = make_gate()
    with pytest.raises(InvalidDecision) as caught:
        answer(gate, "bob", verdict, **more)
    assert field in caught.value.errors
    assert (gate.decisions.count(), run_of(gate).status) == (0, "waiting")


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "mallory"])
def test_who_is_not_named_may_not_decide(make_gate, answer, name):
    gate = make_gate()
    with pytest.raises(NotYours, match="asks finance"):
        answer(gate, name, "approve")


def test_who_started_the_run_may_not_decide_it_where_the_policy_says_so(make_gate, people, answer):
    from django.contrib.auth.models import Group

    people.alice.groups.add(Group.objects.get(name="finance"))
    people.alice.__dict__.pop("_holdfast_groups", None)
    gate = make_gate()
    with pytest.raises(NotYours, match="started this run"):
        answer(gate, "alice", "approve")
    assert not Gate.objects.decidable_by(people.alice).exists()
    assert Gate.objects.decidable_by(people.bob).get() == gate


def test_the_decision_is_bound_to_what_was_seen(make_gate, people, answer):
    gate = make_gate()
    with pytest.raises(GateChanged):
        answer(gate, "bob", "approve", proposal_hash="0" * 64)
    with pytest.raises(GateChanged):
        answer(gate, "bob", "approve", version=2)


def test_deciding_twice_is_refused(make_gate, answer):
    gate = make_gate()
    answer(gate, "bob", "approve")
    with pytest.raises(GateClosed, match="bob approved"):
        answer(gate, "erin", "reject")


def test_a_quorum_wants_different_people(make_gate, worker, answer):
    gate = make_gate("t-quorum", amount=7)
    answer(gate, "bob", "approve")
    with pytest.raises(AlreadyVoted):
        answer(gate, "bob", "approve")
    assert run_of(gate).status == "waiting"
    answer(gate, "carol", "approve")
    worker(gate.run)
    assert flows.calls == ["after 7"]


def test_an_edit_voids_earlier_votes_and_counts_for_the_edited_action(make_gate, worker, answer):
    gate = make_gate("t-quorum", amount=7)
    answer(gate, "bob", "approve")
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash}
    answer(gate, "erin", "edit", args={"amount": 9})
    with pytest.raises(GateChanged):
        answer(gate, "carol", "approve", **seen)
    answer(gate, "bob", "approve")
    worker(gate.run)
    assert flows.calls == ["after 9"]


def test_one_rejection_ends_a_quorum(make_gate, answer):
    gate = make_gate("t-quorum")
    answer(gate, "bob", "approve")
    answer(gate, "erin", "reject")
    assert run_of(gate).status == "rejected"


def test_an_unanswered_gate_is_rejected_at_its_time_and_not_before(make_gate):
    gate = make_gate()
    assert clock.expire(gate.pk) is False
    Gate.objects.filter(pk=gate.pk).update(due_at=Now() - timedelta(seconds=1))
    assert clock.expire(gate.pk) is True
    assert clock.expire(gate.pk) is False
    run, decision = run_of(gate), gate.decisions.get()
    assert (run.status, decision.by, decision.by_name, decision.channel) == ("rejected", None, "policy", "policy")


def test_the_demos_refund_escalates_and_then_rejects(make_run, worker, people):
    run = make_run("refund", order="A-1", amount=400)
    worker(run)
    gate = run.gates.get()
    for level, groups in ((1, ["finance", "finance-leads"]), (1, ["finance", "finance-leads"])):
        Gate.objects.filter(pk=gate.pk).update(due_at=Now() - timedelta(seconds=1))
        clock.expire(gate.pk)
        gate.refresh_from_db()
        assert (gate.level, gate.approver_groups) == (level, groups)
    assert (gate.status, gate.outcome_by) == ("decided", "policy")


def test_a_gate_that_nobody_could_answer_goes_to_admins(make_run, worker, people):
    from django.contrib.auth.models import User

    User.objects.filter(username__in=["bob", "erin"]).update(is_active=False)
    run = make_run("t-gated", amount=400)
    worker(run)
    assert run.gates.get().approver_groups == ["finance", "admin"]


def test_cancelling_withdraws_the_gate_and_it_says_so(make_gate, people, answer):
    gate = make_gate()
    controls.cancel(gate.run_id, by=people.alice, reason="wrong customer")
    gate.refresh_from_db()
    assert (gate.status, run_of(gate).status) == ("withdrawn", "cancelled")
    with pytest.raises(GateClosed, match="withdrawn"):
        answer(gate, "bob", "approve")


def test_decisions_go_on_while_the_run_is_held(make_gate, people, worker, answer):
    gate = make_gate()
    controls.hold(gate.run_id, by=people.alice)
    answer(gate, "bob", "approve")
    assert worker() is False
    assert run_of(gate).status == "held"
    controls.release(gate.run_id, by=people.alice)
    worker(gate.run)
    assert run_of(gate).status == "succeeded"


def test_a_held_run_is_released_to_its_open_gate(make_gate, people):
    gate = make_gate()
    controls.hold(gate.run_id, by=people.alice)
    controls.release(gate.run_id, by=people.alice)
    assert run_of(gate).status == "waiting"


def test_an_effect_asks_again_when_the_approved_fields_have_changed(make_gate, worker, answer, people):
    gate = make_gate()
    flows.script["verify"] = "not"
    answer(gate, "bob", "approve")
    run = run_of(gate)
    changed = store.load(run.pk, run.seq).values | {"amount": 5000}
    kind = registry.version(run.workflow, run.version).state
    change = Change(kind.parse(changed), changed, {"set": {"amount": 5000}}, {})
    store.write(run.pk, packing.pack(run.pk, kind, run, change, packing.Since(), next_step="x", step="x"))
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.step, flows.calls) == ("waiting", "boss", ["prepare"])
    assert run.gates.get(status="open").action["args"] == {"amount": 5000}


def test_the_tests_clock_drives_a_deadline(make_gate):
    from runs.clock import offset_for_tests

    gate = make_gate()
    for offset, due in (("59 minutes", False), ("61 minutes", True)):
        offset_for_tests(offset)
        try:
            assert clock.expire(gate.pk) is due
        finally:
            offset_for_tests("")
    assert run_of(gate).status == "rejected"
