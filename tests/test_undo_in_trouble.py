"""Taking back, and gates that come back: what an adversary found there."""

from contextlib import suppress

import pytest

from approvals.models import Gate
from approvals.refusals import GateClosed, NotYours, TooLate
from approvals.services import clock, policies
from approvals.services.deciding import bypass
from approvals.services.taking_back import take_back
from engine.services import controls
from engine.sweeper import Sweeper
from runs.models import Run
from tests import flows, part_flows
from tests.conftest import drive, join
from tests.forms import posted
from workflows import Policy

pytestmark = pytest.mark.django_db


ALL = Policy(approvers=["group:finance", "user:carol"], quorum=2)


def undo(gate, decision, by):
    return take_back(gate.pk, decision.pk, by=by)


def failed_beside_an_approval(ask, answer, at):
    """Of two gates the first was approved; the other's timeout has failed the run. The first, and its decision."""
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, Policy(approvers=["group:finance"], timeout="1h", on_timeout="fail"))
    old = answer(first, "bob", "approve")
    at("61 minutes")
    assert clock.expire(first.run.gates.get(ordinal=1).pk)
    return first, old


def lost():
    def fail():
        raise RuntimeError("reply lost")

    return fail


def drive_on(worker, run):
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass


def test_one_cannot_undo_anothers_rejection_by_taking_back_ones_own_vote(ask, answer, people, worker, at):
    gate = ask(ALL)
    mine = answer(gate, "bob", "approve")
    answer(gate, "erin", "reject", channel="page", comment="never")
    try:
        undo(gate, mine, people.bob)
    except (TooLate, NotYours):
        return
    answer(gate, "bob", "approve")
    answer(gate, "carol", "approve")
    gate.refresh_from_db()
    assert gate.outcome_verdict != "approve", "approved, while erin's rejection stands"


def test_one_cannot_undo_anothers_rejection_by_taking_back_ones_edit(ask, answer, people):
    gate = ask(ALL)
    mine = answer(gate, "bob", "edit", args={"amount": 3})
    no = answer(gate, "erin", "reject", channel="page", comment="never")
    try:
        undo(gate, mine, people.bob)
    except (TooLate, NotYours):
        return
    no.refresh_from_db()
    assert no.voided_at is None, "bob has voided erin's rejection"


def test_a_settled_gate_is_not_left_open_with_its_quorum_met(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=2, veto=2))
    no = answer(gate, "bob", "reject")
    answer(gate, "erin", "approve")
    answer(gate, "carol", "approve", channel="page")
    try:
        undo(gate, no, people.bob)
    except (TooLate, NotYours):
        return
    gate.refresh_from_db()
    assert not gate.is_open, "two of two have approved, and it is open; both have voted already"


def test_the_policys_timeout_cannot_be_taken_back_by_a_voter(make_gate, answer, people, worker, at, monkeypatch):
    policies.change(
        "t-fresh",
        "offer",
        {"approvers": ["group:finance", "user:carol"], "quorum": 2, "timeout": 3600, "on_timeout": "approve"},
        by=people.carol,
        reason="x",
    )
    gate = make_gate("t-fresh", amount=400)
    mine = answer(gate, "bob", "approve")
    at("61 minutes")
    assert clock.expire(gate.pk)
    with pytest.raises(TooLate):
        undo(gate, mine, people.bob)


def test_an_approval_given_while_the_run_is_held_is_revalidated(make_gate, answer, people, worker):
    gate = make_gate("t-fresh", amount=400)
    controls.hold(gate.run_id, by=people.alice)
    answer(gate, "bob", "approve")
    flows.script["price"] = 480
    controls.release(gate.run_id, by=people.alice)
    drive(worker, gate.run)
    assert flows.calls == ["look again at 400"], flows.calls


def test_an_older_outcome_that_was_carried_out_is_not_taken_back_for_the_newer_one(make_run, answer, people, worker, at):
    join(people.erin, "operator")
    flows.script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("reply lost"))
    run = make_run("t-effect")
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    first = run.gates.get()
    old = answer(first, "alice", "not_happened")
    flows.script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("reply lost again"))
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    second = run.gates.get(status="open")
    assert second.pk != first.pk
    answer(second, "erin", "happened", channel="page", args={"answer": "seen"})
    with pytest.raises(TooLate):
        undo(first, old, people.alice)


def test_a_gate_that_a_retry_asked_anew_does_not_come_back(ask, answer, people, worker, at):
    first, old = failed_beside_an_approval(ask, answer, at)
    run = Run.objects.get(pk=first.run_id)
    assert run.status == "failed"
    controls.retry(run.pk, by=people.alice)
    worker(run)
    assert Gate.objects.open().filter(run=run).count() == 2
    with pytest.raises(TooLate):
        undo(first, old, people.bob)


def test_a_zombie_gate_does_not_move_the_run(ask, answer, people, worker, at):
    first, old = failed_beside_an_approval(ask, answer, at)
    controls.retry(first.run_id, by=people.alice)
    worker(first.run)
    new = list(Gate.objects.open().filter(run=first.run).order_by("ordinal"))
    answer(new[0], "erin", "approve")
    with pytest.raises(TooLate):
        undo(first, old, people.bob)


def test_two_levels_are_two_people_also_after_an_edit_was_taken_back(ask, answer, people):
    first = ask(ALL, Policy(approvers=["group:finance"], distinct_from=["ask-1"]))
    second = first.run.gates.get(ordinal=1)
    answer(first, "bob", "approve")
    edit = answer(first, "erin", "edit", args={"amount": 7})
    answer(second, "bob", "approve")
    undo(first, edit, people.erin)
    both = set(first.decisions.standing().values_list("by_name", flat=True)) & set(
        second.decisions.standing().values_list("by_name", flat=True)
    )
    assert not both, both


def test_a_list_of_yes_and_no_takes_no_for_no():
    schema = {"type": "object", "properties": {"flags": {"type": "array", "items": {"type": "boolean"}}}}
    try:
        assert posted(schema, {"flags": [True]}, flags="true\r\nno") == {"flags": [True, False]}
    except AssertionError as error:
        assert "line 2" in str(error), error


def test_a_branchs_decision_is_not_taken_back_in_a_run_that_was_cancelled(make_run, answer, people, worker):
    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.cancel(run.pk, by=people.alice)
    Sweeper().settle()
    assert Run.objects.get(pk=run.pk).status == "cancelled"
    with suppress(TooLate):
        take_back(gate.pk, decision.pk, by=people.bob)
    assert not Gate.objects.open().filter(run=run).exists(), "an open gate in a cancelled run"


def test_no_gate_is_open_once_the_run_has_ended(ask, answer, people, worker, at):
    """What the reopened old gate can do."""
    from approvals.services import clock

    policy = Policy(approvers=["group:finance"])
    first = ask(policy, Policy(approvers=["group:finance"], timeout="1h", on_timeout="fail"))
    old = answer(first, "bob", "approve")
    at("61 minutes")
    clock.expire(first.run.gates.get(ordinal=1).pk)
    at("")
    controls.retry(first.run_id, by=people.alice)
    worker(first.run)
    new = list(Gate.objects.open().filter(run=first.run).order_by("ordinal"))
    answer(new[0], "erin", "approve")
    with suppress(TooLate):
        take_back(first.pk, old.pk, by=people.bob)
    answer(new[1], "erin", "approve")
    while worker(first.run):
        pass
    run = Run.objects.get(pk=first.run_id)
    print(run.status, list(run.gates.values_list("key", "status", "opened_at")), flows.calls)
    assert not Gate.objects.open().filter(run=run).exists()


def test_a_gate_of_a_cancelled_run_starts_no_roll_back(make_run, answer, people, worker):
    from engine.sweeper import Sweeper

    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.cancel(run.pk, by=people.alice)
    Sweeper().settle()
    Gate.objects.filter(pk=gate.pk).update(on_reject="roll_back")
    with suppress(TooLate, GateClosed):
        take_back(gate.pk, decision.pk, by=people.bob)
        answer(gate, "bob", "reject")
    print(Run.objects.get(pk=run.pk).status)
    assert Run.objects.get(pk=run.pk).status == "cancelled"


def test_a_bypass_taken_back_gives_the_vote_before_back(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=3))
    answer(gate, "bob", "approve")
    answer(gate, "carol", "approve")
    d = bypass(gate.pk, by=people.carol, verdict="approve", reason="quick", channel="page")
    take_back(gate.pk, d.pk, by=people.carol)
    gate.refresh_from_db()
    assert gate.decisions.standing().filter(by=people.carol, verdict="approve").exists(), "her vote of before is lost"


def test_after_undo_the_next_approval_has_all_its_tries(make_gate, answer, people, worker, at):
    gate = make_gate("t-fresh", amount=400)
    flows.script["price"] = lambda: 1 / 0
    d = answer(gate, "bob", "approve", channel="page")
    at("10 seconds")
    worker(gate.run)
    run = Run.objects.get(pk=gate.run_id)
    print(run.status, run.failures, run.attempt, run.pause, run.doubt_at)
    take_back(gate.pk, d.pk, by=people.bob)
    run.refresh_from_db()
    print(run.status, run.failures, run.attempt, run.pause)
    assert run.failures == 0


def test_taking_an_old_outcome_back_makes_the_effect_act_once_more_against_the_newer_answer(
    make_run, answer, people, worker, at
):
    join(people.erin, "operator")
    flows.script["act"] = lost()
    run = make_run("t-effect")
    drive_on(worker, run)
    first = run.gates.get()
    old = answer(first, "alice", "not_happened")
    flows.script["act"] = lost()
    drive_on(worker, run)
    second = run.gates.get(status="open")
    answer(second, "erin", "happened", channel="page", args={"answer": "seen"})
    acted = sum(one.startswith("act ") for one in flows.calls)
    try:
        take_back(first.pk, old.pk, by=people.alice)
        answer(first, "alice", "not_happened")
    except TooLate:
        pass
    at("6 seconds")
    drive_on(worker, run)
    assert sum(one.startswith("act ") for one in flows.calls) == acted, "it acted again, after erin had said that it happened"


def test_a_branchs_decision_is_not_taken_back_in_a_run_that_rolls_back(make_run, answer, people, worker):
    from tests import part_flows

    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    d = answer(gate, "bob", "approve", channel="page")
    controls.roll_back(run.pk, by=people.carol)
    from engine.sweeper import Sweeper

    Sweeper().settle()
    print(Run.objects.get(pk=run.pk).status)
    with suppress(TooLate):
        take_back(gate.pk, d.pk, by=people.bob)
    assert not Gate.objects.open().exists()
