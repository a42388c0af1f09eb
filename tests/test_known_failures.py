"""How approvals and resumes fail elsewhere; each failure has a test here by its number in the list of peers' failure modes.

A: answered twice. C: the answer goes to the wrong gate. D: the decision is not honoured. G: gates that nobody will ever answer.
H: the wake-up is lost.
"""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from approvals.models import Gate
from approvals.refusals import GateChanged, GateClosed, InvalidDecision, NotYours
from approvals.services import clock
from approvals.services.deciding import decide
from engine import advancing
from engine.services import controls, deadlines, takeover
from engine.services.forking import fork
from engine.sweeper import Sweeper
from runs import bell, reading
from runs.clock import Now
from runs.models import Branch, Run
from tests import flows, part_flows
from tests.conftest import die, kinds, new_lease, together
from workflows import Policy
from workflows.keys import visit_key

pytestmark = pytest.mark.django_db
FINANCE = Policy(approvers=["group:finance"])


def fresh(gate):
    return Gate.objects.get(pk=gate.pk)


def run_of(gate):
    return Run.objects.get(pk=gate.run_id)


def carried_on(worker, gate):
    while worker(gate.run):
        pass
    return run_of(gate)


def vote(gate, by, verdict="approve", **more):
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash, "channel": "api"}
    return decide(gate.pk, by=by, verdict=verdict, **{**seen, **more})


# -- A: answered twice


@pytest.mark.django_db(transaction=True)
def test_a1_ten_clicks_at_once_are_one_decision_one_resume_and_nine_who_are_told(make_gate, people, quiet_bells):
    gate = make_gate()
    quiet_bells.clear()
    results = together(10, lambda number: vote(gate, people.bob if number % 2 else people.erin))
    assert [type(result).__name__ for result in results].count("Decision") == 1
    assert all("approved" in str(result) for result in results if isinstance(result, GateClosed))
    assert quiet_bells == [gate.run_id] and kinds(gate.run).count("decided boss") == 1


def test_a2_an_old_timer_after_a_decision_does_nothing(make_gate, answer, worker, at):
    gate = make_gate()
    answer(gate, "bob", "approve")
    carried_on(worker, gate)
    entries = kinds(gate.run)
    at("2 hours")
    assert (clock.expire(gate.pk), clock.remind(gate.pk), Sweeper().fire_gates()) == (False, False, 0)
    assert kinds(gate.run) == entries


@pytest.mark.django_db(transaction=True)
def test_a3_a_person_and_the_timeout_at_one_instant_one_wins_and_the_run_does_not_fail(make_gate, people, worker):
    for _ in range(4):
        gate = make_gate()
        Gate.objects.filter(pk=gate.pk).update(due_at=Now())
        person, timer = together(2, lambda number, gate=gate: clock.expire(gate.pk) if number else vote(gate, people.bob))
        assert (type(person).__name__ == "Decision") is not timer
        assert carried_on(worker, gate).status in ("succeeded", "rejected")


def test_a4_an_answered_gate_answered_again_with_another_value_is_refused(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 300})
    with pytest.raises(GateClosed):
        answer(gate, "erin", "edit", args={"amount": 100})
    carried_on(worker, gate)
    assert flows.calls == ["prepare", "pay 300"]


def test_a5_an_answer_that_was_used_never_answers_the_next_gate(make_gate, answer, worker, people):
    gate = make_gate()
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash}
    answer(gate, "bob", "respond", comment="look again")
    carried_on(worker, gate)
    following = gate.run.gates.get(status="open")
    assert following.pk != gate.pk
    with pytest.raises(GateClosed):  # the old form, sent again
        vote(gate, people.bob, **seen)
    with pytest.raises(GateChanged):  # its version and hash, at the new gate
        vote(following, people.bob, **seen)
    assert fresh(following).is_open and not following.decisions.exists()


def test_a6_a_worker_that_dies_in_the_resume_and_a_message_that_comes_twice_act_once(make_gate, answer, worker, monkeypatch):
    gate = make_gate()
    answer(gate, "bob", "approve")
    key, held = new_lease()
    from engine import claim

    assert claim.take_hinted(gate.run_id, key) is not None  # it has the run, and dies
    die(held)
    assert takeover.take_over_if_lost(gate.run_id)
    Run.objects.filter(pk=gate.run_id).update(available_at=Now())
    for _ in range(5):  # one message, delivered again and again
        advancing.advance(gate.run_id)
    assert run_of(gate).status == "succeeded" and flows.calls == ["prepare", "pay 400"]


def test_a7_the_key_is_the_visits_and_a_deliberate_new_run_of_the_step_has_another(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "approve")
    carried_on(worker, gate)
    keys = {visit_key(gate.run_id, "pay", visit, "") for visit in (3, 3, 4)}
    assert len(keys) == 2


def test_a8_a_gates_wait_is_no_steps_timeout(make_gate, at):
    gate = make_gate()  # its policy gives an hour, a step has five minutes
    at("50 minutes")
    sweeper = Sweeper()
    assert (sweeper.fire_gates(), sweeper.end_overdue()) == (0, 0)
    assert run_of(gate).status == "waiting"


# -- C: the wrong gate


def test_c1_parallel_gates_have_ids_of_their_own_and_each_decision_is_read_by_its_key(ask, answer, worker):
    first = ask(FINANCE, FINANCE)
    second = first.run.gates.get(ordinal=1)
    assert first.pk != second.pk
    answer(second, "bob", "reject")
    answer(first, "erin", "approve")
    carried_on(worker, first)
    assert reading.output(run_of(first))["answer"] == "approve reject"  # ask-1, ask-2


def test_c2_of_three_pending_the_last_is_answered_by_its_id_and_not_by_its_place(ask, answer):
    gates = list(ask(FINANCE, FINANCE, FINANCE).run.gates.order_by("ordinal"))
    answer(gates[2], "bob", "approve")
    assert [fresh(gate).status for gate in gates] == ["open", "open", "decided"]


def test_c3_a_partial_answer_leaves_the_siblings_pending_and_nothing_resumes(ask, answer, quiet_bells):
    gates = list(ask(FINANCE, FINANCE).run.gates.order_by("ordinal"))
    quiet_bells.clear()
    answer(gates[0], "bob", "approve")
    assert (fresh(gates[1]).status, run_of(gates[1]).status, quiet_bells) == ("open", "waiting", [])


def test_c4_one_stop_is_one_gate(make_gate, worker):
    gate = make_gate()
    for _ in range(3):
        worker(gate.run)
    assert gate.run.gates.count() == 1


def test_c5_one_runs_gate_is_never_anothers(make_gate, answer, worker):
    one, other = make_gate(), make_gate()
    answer(one, "bob", "approve")
    carried_on(worker, one)
    assert (fresh(other).status, run_of(other).status) == ("open", "waiting")


# -- D: not honoured


def test_d1_what_was_rejected_never_runs_also_in_a_mixed_batch(ask, answer, worker, make_gate):
    gate = make_gate()
    answer(gate, "bob", "reject")
    carried_on(worker, gate)
    assert flows.calls == ["prepare"]
    mixed = list(ask(FINANCE, FINANCE).run.gates.order_by("ordinal"))
    answer(mixed[0], "bob", "approve")
    answer(mixed[1], "bob", "reject")
    carried_on(worker, mixed[0])
    assert reading.output(run_of(mixed[0]))["answer"] == "approve reject"


def test_d2_edited_arguments_are_what_runs_and_the_original_is_not_tried(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 7})
    carried_on(worker, gate)
    assert flows.calls == ["prepare", "pay 7"]


def test_d3_what_was_approved_is_what_runs_or_it_is_asked_again(make_gate, answer, worker, people):
    gate = make_gate()
    answer(gate, "bob", "approve")
    controls.hold(gate.run_id, by=people.alice)
    controls.release(gate.run_id, by=people.alice, changes={"amount": 9000})
    carried_on(worker, gate)
    assert flows.calls == ["prepare"] and gate.run.gates.get(status="open").action["args"] == {"amount": 9000}


def test_d4_unanswered_is_not_approved(make_gate, worker, at):
    gate = make_gate()
    for _ in range(3):
        worker(gate.run)
    at("2 hours")
    Sweeper().fire_gates()
    assert run_of(gate).status == "rejected" and flows.calls == ["prepare"]


def test_d5_every_other_way_on_enforces_the_same_rules(make_gate, people, worker):
    gate = make_gate()
    from runs.services.moves import MoveRefused

    for act in (controls.retry, controls.release):
        with pytest.raises(MoveRefused):
            act(gate.run_id, by=people.carol)
    forked = fork(gate.run_id, seq=1, by=people.carol, effects="execute")
    while worker(forked):
        pass
    assert Run.objects.get(pk=forked.pk).status == "waiting" and flows.calls == ["prepare"]
    own = Gate.objects.get(run=forked.pk)
    with pytest.raises(NotYours):
        vote(own, people.carol)


@pytest.mark.django_db(transaction=True)
def test_d6_an_approval_survives_the_database(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "approve", comment="fine")
    connection.close()
    carried_on(worker, gate)
    assert reading.output(run_of(gate))["answer"] == "fine"


def test_d7_the_words_of_a_rejection_or_an_answer_reach_the_agent(ask, answer, worker):
    from engine.context import decided

    gate = ask(FINANCE)
    answer(gate, "bob", "reject", comment="too dear")
    carried_on(worker, gate)
    ((_, decision),) = decided(gate.run_id)
    assert (decision.verdict, decision.comment, decision.by) == ("reject", "too dear", "bob")


def test_d8_the_actor_is_who_is_signed_in(make_gate, people):
    gate = make_gate()
    with pytest.raises(TypeError):
        vote(gate, people.bob, by_name="carol")
    assert vote(gate, people.bob).by_name == "bob"


def test_d9_a_gate_that_is_passed_over_does_not_park_the_run(make_run, worker):
    run = make_run("t-gated", amount=5)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded" and not run.gates.exists()


# -- G: nobody will ever answer


@pytest.mark.parametrize("how", ["cancelled", "failed", "rolled back", "expired"])
def test_g_a_run_that_ends_closes_its_gates_and_old_forms_say_so(make_run, worker, people, how):
    run = make_run("t-hurried", amount=1)
    worker(run)
    gate = run.gates.get()
    if how == "cancelled":
        controls.cancel(run.pk, by=people.alice)
    elif how == "rolled back":
        controls.roll_back(run.pk, by=people.carol)
    else:
        Run.objects.filter(pk=run.pk).update(deadline_at=Now() - timedelta(seconds=1))
        deadlines.end_overdue(run.pk)
    assert fresh(gate).status == "withdrawn"
    with pytest.raises(GateClosed, match="withdrawn"):
        vote(gate, people.bob)


def test_g_a_retry_of_a_branch_asks_the_same_gate_again_and_old_forms_are_refused(make_run, worker, answer, people):
    def part(state, ctx, arg):
        return part_flows.ask_in_branch(state, ctx, arg) if arg == 1 else 1 / 0

    flows.script["part"] = part
    run = make_run("t-fan", size=2)
    while worker(run):
        pass
    Branch.objects.filter(run=run, status="queued").update(available_at=Now())
    while worker(run):
        pass
    gate = run.gates.get()
    assert (Run.objects.get(pk=run.pk).status, gate.status) == ("failed", "withdrawn")
    flows.script["part"] = part_flows.ask_in_branch
    controls.retry(run.pk, by=people.alice)
    assert fresh(gate).status == "open"
    with pytest.raises(GateChanged):
        vote(gate, people.bob)


def test_g_a_gate_that_nobody_may_answer_goes_to_admins_at_once(ask):
    gate = ask(Policy(approvers=["group:nobody-is-here"]))
    assert "admin" in gate.approver_groups
    User.objects.filter(username__in=("bob", "erin")).update(is_active=False)
    assert "admin" in ask(FINANCE).approver_groups


# -- H: the wake-up is lost


def test_h1_an_answer_before_the_wait_is_stored_cannot_be(make_run, worker, people):
    run = make_run("t-gated", amount=400)
    with pytest.raises(Gate.DoesNotExist):
        decide(run.pk, by=people.bob, verdict="approve", version=1, proposal_hash="", channel="api")
    worker(run)  # the gate and the wait are one commit
    assert (Run.objects.get(pk=run.pk).status, run.gates.get().status) == ("waiting", "open")


def test_h4_the_decision_and_the_resume_are_one_commit_and_a_lost_bell_is_rung_again(
    make_gate, answer, monkeypatch, worker, quiet_bells
):
    gate = make_gate()
    monkeypatch.setattr(bell, "ring_on_commit", lambda run_id: None)  # every message is lost
    answer(gate, "bob", "approve")
    assert run_of(gate).status == "queued"
    quiet_bells.clear()
    Sweeper().ring()
    assert quiet_bells == [gate.run_id]
    assert carried_on(worker, gate).status == "succeeded"


def test_h4_a_decision_that_does_not_commit_has_not_been(make_gate, people):
    gate = make_gate()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        vote(gate, people.bob)
        1 / 0  # noqa: B018 - the process dies before the commit
    assert (fresh(gate).status, gate.decisions.count(), run_of(gate).status) == ("open", 0, "waiting")


def test_h6_a_run_that_waits_holds_no_worker(make_gate):
    run = run_of(make_gate())
    assert (run.worker, run.step_started_at) == (None, None)


def test_h7_what_was_decided_with_it_is_not_dropped(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 3}, comment="only three")
    carried_on(worker, gate)
    assert (reading.output(run_of(gate))["answer"], flows.calls[-1]) == ("only three", "pay 3")


def test_h8_more_than_two_hundred_open_gates_that_are_not_due_do_not_starve_one_that_is(make_gate, monkeypatch):
    due, other = make_gate(), make_gate()
    rows = []
    for number in range(250):
        copied = Gate.objects.get(pk=other.pk)
        copied.pk, copied.ordinal, copied.due_at = Gate._meta.pk.get_default(), number + 1, None
        rows.append(copied)
    Gate.objects.bulk_create(rows)
    Gate.objects.filter(pk=due.pk).update(due_at=Now())
    Sweeper().fire_gates()
    assert fresh(due).status == "decided" and Gate.objects.open().count() == 251


def test_what_is_malformed_is_refused_and_leaves_nothing_behind(make_gate, people):
    gate = make_gate()
    with pytest.raises(InvalidDecision):
        vote(gate, people.bob, "edit", args={"amount": "many"})
    assert not gate.decisions.exists() and kinds(gate.run)[-1] == "gate_opened boss"
