"""Whose votes count, and when they settle a gate."""

from typing import Any

import pytest

from approvals.models import Gate
from approvals.refusals import AlreadyVoted, GateChanged, GateClosed, InvalidDecision, NotConfirmed, NotYours
from approvals.services import policies
from approvals.services.deciding import bypass
from approvals.services.tallying import tally
from runs.access import NotPermitted
from runs.models import Run
from tests import flows
from tests.conftest import join, kinds
from workflows import Policy

pytestmark = pytest.mark.django_db
BOTH = Policy(approvers=["group:finance", "group:legal"], quorum={"group:finance": 1, "group:legal": 1})


def status(gate):
    return Gate.objects.get(pk=gate.pk).status


def test_a_quorum_by_group_wants_somebody_of_each(ask, answer, people, worker):
    join(people.dave, "legal")
    gate = ask(BOTH)
    answer(gate, "bob", "approve")
    answer(gate, "erin", "approve")
    assert (status(gate), tally(gate).in_words()) == ("open", "finance 1 of 1, legal 0 of 1")
    answer(gate, "dave", "approve")
    worker(gate.run)
    assert flows.calls == ["settled"]


def test_who_is_in_both_groups_is_still_one_person(ask, answer, people):
    join(people.bob, "legal")
    gate = ask(BOTH)
    answer(gate, "bob", "approve")
    assert status(gate) == "open"
    answer(gate, "erin", "approve")  # she for finance, so he for legal
    assert status(gate) == "decided"


def test_one_rejection_ends_it_and_a_veto_needs_as_many_as_the_policy_says(ask, answer):
    gate = ask(Policy(approvers=["group:finance"], quorum=2))
    answer(gate, "bob", "reject")
    assert status(gate) == "decided"
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=2, veto=2))
    answer(gate, "bob", "reject")
    assert status(gate) == "open"
    answer(gate, "erin", "approve")
    answer(gate, "carol", "reject")
    gate.refresh_from_db()
    assert (gate.status, gate.outcome_verdict) == ("decided", "reject")


def test_a_rejection_short_of_the_veto_does_not_keep_others_from_approving(ask, answer):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=2, veto=2))
    for name, verdict in (("bob", "reject"), ("erin", "approve"), ("carol", "approve")):
        answer(gate, name, verdict)
    gate.refresh_from_db()
    assert (gate.status, gate.outcome_verdict) == ("decided", "approve")


def test_two_levels_are_two_people(make_run, worker, answer, people):
    run = make_run("t-levels", amount=5)
    worker(run)
    answer(run.gates.get(), "bob", "approve")
    worker(run)
    second = run.gates.get(status="open")
    with pytest.raises(NotYours, match="approved “manager”"):
        answer(second, "bob", "approve")
    assert [second.pk] == list(Gate.objects.decidable_by(people.erin).values_list("pk", flat=True))
    assert not Gate.objects.decidable_by(people.bob).exists()
    answer(second, "erin", "approve")
    worker(run)
    assert flows.calls == ["levelled"]


def test_two_levels_are_two_people_also_when_the_second_answers_first(ask, answer, people):
    first = ask(Policy(approvers=["group:finance"]), Policy(approvers=["group:finance"], distinct_from=["ask-1"]))
    answer(first.run.gates.get(key="ask-2"), "bob", "approve")
    with pytest.raises(NotYours, match="ask-2"):
        answer(first, "bob", "approve")
    assert not Gate.objects.decidable_by(people.bob).exists()
    answer(first, "erin", "approve")


def test_who_rejected_one_level_may_still_answer_the_other(make_run, worker, answer):
    run = make_run("t-levels")
    worker(run)
    answer(run.gates.get(), "bob", "reject")  # goes on to the next level
    worker(run)
    answer(run.gates.get(status="open"), "bob", "approve")


@pytest.mark.parametrize("verdict", ["reject", "edit"])
def test_words_that_the_policy_wants_must_be_given(ask, answer, verdict):
    gate = ask(Policy(approvers=["group:finance"], comment=["reject", "edit"]))
    more = {"args": {"amount": 1}} if verdict == "edit" else {}
    with pytest.raises(InvalidDecision) as caught:
        answer(gate, "bob", verdict, comment="  ", **more)
    assert "comment" in caught.value.errors and not gate.decisions.exists()
    answer(gate, "bob", verdict, comment="because", **more)


def test_a_timeout_needs_no_words(ask, at):
    from approvals.services import clock

    gate = ask(Policy(approvers=["group:finance"], comment=["reject"], timeout="1h"))
    at("61 minutes")
    assert clock.expire(gate.pk)
    gate.refresh_from_db()
    assert gate.outcome_verdict == "reject"


def test_a_gate_of_high_risk_wants_the_password_once_more(ask, answer):
    gate = ask(Policy(approvers=["group:finance"], risk="high"))
    with pytest.raises(NotConfirmed):
        answer(gate, "bob", "approve")
    answer(gate, "bob", "approve", confirmed=True)


def test_who_approves_may_be_a_function_of_the_state(make_run, worker, people):
    for amount, users, groups in ((50, ["bob"], []), (500, [], ["admin"])):
        run = make_run("t-chosen", amount=amount)
        worker(run)
        gate = run.gates.get()
        assert (gate.approver_users, gate.approver_groups) == (users, groups)
        assert gate.policy["approvers"] == [*(f"user:{name}" for name in users), *(f"role:{name}" for name in groups)]


@pytest.mark.parametrize("named", ["group:finance", ["finance"], [3], None])
def test_a_function_that_names_nobody_properly_fails_the_run_with_the_reason(make_run, worker, named):
    flows.script["approvers"] = lambda state: named
    run = make_run("t-chosen")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.error["type"]) == ("failed", "BadPolicy") and not run.gates.exists()


# -- bypass


def passed(gate, people, by="carol", verdict="approve", reason="all of finance is on a plane", **more):
    return bypass(gate.pk, by=people[by], verdict=verdict, reason=reason, channel="api", **more)


def test_an_admin_may_pass_the_policy_by_and_everybody_sees_it(make_run, worker, people):
    run = make_run("t-gated", amount=400)
    worker(run)
    gate = run.gates.get()
    decision = passed(gate, people)
    assert (decision.bypass, decision.comment) == (True, "all of finance is on a plane")
    assert "decided boss" in kinds(run)
    entry = [event.facts() for event in run.events.filter(kind="decided")][-1]
    assert (entry["bypass"], entry["final"], entry["comment"]) == (True, True, "all of finance is on a plane")
    worker(run)
    assert flows.calls == ["prepare", "pay 400"]


def test_a_bypass_is_refused_where_it_must_be(make_run, ask, worker, people):
    gate = ask(Policy(approvers=["group:finance"], allow_bypass=False))
    with pytest.raises(NotYours, match="does not let anybody past"):
        passed(gate, people)
    gate = ask(Policy(approvers=["group:finance"]))
    for name in ("alice", "bob", "dave", "mallory"):
        with pytest.raises(NotPermitted):
            passed(gate, people, by=name)
    with pytest.raises(InvalidDecision):
        passed(gate, people, reason="  ")
    with pytest.raises(InvalidDecision):
        passed(gate, people, verdict="edit")
    with pytest.raises(GateChanged):
        passed(gate, people, version=7, proposal_hash=gate.proposal_hash)
    own = make_run("t-gated", by="carol", amount=400)
    worker(own)
    with pytest.raises(NotYours, match="no way around"):
        passed(own.gates.get(), people)
    risky = ask(Policy(approvers=["group:finance"], risk="high"))
    with pytest.raises(NotConfirmed):
        passed(risky, people)
    passed(gate, people)
    with pytest.raises(GateClosed):
        passed(gate, people)
    assert gate.decisions.count() == 1


def test_a_bypass_takes_the_place_of_the_admins_own_vote(ask, answer, people):
    gate = ask(Policy(approvers=["role:admin", "group:finance"], quorum=2))
    answer(gate, "carol", "approve")
    with pytest.raises(AlreadyVoted):
        answer(gate, "carol", "approve")
    passed(gate, people)
    assert (status(gate), gate.decisions.standing().count()) == ("decided", 1)


# -- policies set by admins


def changed(people, by="carol", workflow="t-gated", name="boss", reason="the team has grown", **policy):
    given = {**Policy(approvers=["group:finance"], allow_self=False).as_json(), **policy}
    return policies.change(workflow, name, given, by=people[by], reason=reason)


def test_an_admins_policy_holds_for_gates_that_open_later_and_no_gate_that_is_open(make_gate, people, answer):
    before = make_gate()
    changed(people, quorum=2, timeout=60)
    after = make_gate()
    assert (before.quorum, after.quorum, after.policy["timeout"]) == (1, 2, 60)
    answer(before, "bob", "approve")
    assert (status(before), status(after)) == ("decided", "open")
    policies.change("t-gated", "boss", None, by=people.carol, reason="back again")
    assert make_gate().quorum == 1


def test_an_admins_policy_may_leave_the_approvers_to_the_workflow(make_run, worker, people):
    changed(people, workflow="t-chosen", name="whoever", approvers=None, veto=2)
    run = make_run("t-chosen", amount=50)
    worker(run)
    gate = run.gates.get()
    assert (gate.approver_users, gate.veto) == (["bob"], 2)


def test_a_policy_that_cannot_be_is_refused_and_only_admins_set_one(people):
    escalates: dict[str, Any] = {"on_timeout": {"escalate": []}}
    for wrong in ({"quorum": 0}, {"timeout": "soon"}, escalates, {"zzz": 1}, {"approvers": ["bob"]}):
        with pytest.raises(policies.PolicyInvalid):
            changed(people, **wrong)
    with pytest.raises(policies.PolicyInvalid, match="reason"):
        changed(people, reason=" ")
    for name in ("alice", "bob", "dave", "mallory"):
        with pytest.raises(NotPermitted):
            changed(people, by=name)


def test_a_fork_does_not_take_an_approval_over_under_another_policy(make_run, worker, answer, people):
    from engine.services.forking import fork

    run = make_run("t-gated", amount=400)
    worker(run)
    answer(run.gates.get(), "bob", "approve")
    worker(run)
    changed(people, quorum=2, allow_self=False)
    forked = fork(run.pk, seq=1, by=people.carol, effects="execute")
    worker(forked)
    assert Run.objects.get(pk=forked.pk).status == "waiting"
