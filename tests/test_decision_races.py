"""Real threads at one gate: one outcome, one resume, and the loser is told."""

from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from approvals.models import Absence, Gate, PolicyChange
from approvals.services import clock, people, policies
from approvals.services.deciding import bypass, decide
from approvals.services.taking_back import take_back
from engine import claim
from engine.services import controls
from runs.clock import Now, database_now
from runs.models import Run
from tests.conftest import kinds, together
from workflows import Policy, escalate

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
TIMES = 4


def vote(gate, by, verdict="approve", channel="api", **more):
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash}
    return decide(gate.pk, by=by, verdict=verdict, channel=channel, **{**seen, **more})


def names(results):
    return Counter(type(result).__name__ for result in results)


def overdue(gate):
    Gate.objects.filter(pk=gate.pk).update(due_at=Now() - timedelta(seconds=1))


def resumes(run):
    return [kind.partition(" ")[0] for kind in kinds(run)].count("checkpoint") - 1  # the input is one


def test_a_quorum_that_is_reached_twice_at_once_resumes_once(people_, ask, quiet_bells):
    crowd = [User.objects.create(username=f"u{number}") for number in range(8)]
    gate = ask(Policy(approvers=[f"user:{user.username}" for user in crowd], quorum=2))
    quiet_bells.clear()
    results = together(8, lambda number: vote(gate, crowd[number]))
    assert names(results) == {"Decision": 2, "GateClosed": 6}
    assert quiet_bells == [gate.run_id] and kinds(gate.run).count("decided decide_") == 2


def test_one_person_posting_many_times_has_one_vote(people_, ask):
    gate = ask(Policy(approvers=["group:finance"], quorum=2))
    results = together(10, lambda number: vote(gate, people_.bob))
    assert names(results) == {"Decision": 1, "AlreadyVoted": 9}


def test_an_edit_against_an_approval_approves_one_of_the_two_and_never_a_mixture(people_, make_gate, worker):
    for _ in range(TIMES):
        gate = make_gate()
        edit = {"verdict": "edit", "args": {"amount": 1}}
        ways = [(people_.bob, {}), (people_.erin, edit)]
        results = together(2, lambda number, gate=gate, ways=ways: vote(gate, ways[number][0], **ways[number][1]))
        assert names(results) == {"Decision": 1, "GateClosed": 1}
        gate.refresh_from_db()
        won = gate.decisions.get()
        assert gate.action["args"] == ({"amount": 1} if won.verdict == "edit" else {"amount": 400})


@pytest.mark.parametrize("other", ["cancel", "hold", "expire", "escalate", "policy", "claim", "delegate", "bypass"])
def test_a_decision_against_what_others_do_at_that_moment(people_, ask, other):
    chain = escalate(["role:admin"], timeout="1h") if other == "escalate" else "reject"
    for _ in range(TIMES):
        gate = ask(Policy(approvers=["group:finance"], timeout="1h", on_timeout=chain))
        if other in ("expire", "escalate"):
            overdue(gate)
        acts = {
            "cancel": lambda gate=gate: controls.cancel(gate.run_id, by=people_.alice),
            "hold": lambda gate=gate: controls.hold(gate.run_id, by=people_.alice),
            "expire": lambda gate=gate: clock.expire(gate.pk),
            "escalate": lambda gate=gate: clock.expire(gate.pk),
            "policy": lambda: policies.change("t-ruled", "ask-1", Policy(veto=2).as_json(), by=people_.carol, reason="r"),
            "claim": lambda gate=gate: people.claim(gate.pk, by=people_.erin),
            "delegate": lambda gate=gate: people.delegate(gate.pk, by=people_.bob, to="dave"),
            "bypass": lambda gate=gate: bypass(gate.pk, by=people_.carol, verdict="reject", reason="r", channel="api"),
        }
        decided, done = together(2, lambda number, gate=gate, acts=acts: acts[other]() if number else vote(gate, people_.bob))
        gate.refresh_from_db()
        run = Run.objects.get(pk=gate.run_id)
        assert type(decided).__name__ in ("Decision", "GateClosed", "NotYours"), decided
        standing = list(gate.decisions.standing())
        if type(decided).__name__ == "Decision" and other != "delegate":
            assert [one.by_name for one in standing] == ["bob"] and gate.outcome_by == "bob"
        if other in ("expire", "bypass"):
            assert gate.status == "decided" and len(standing) == 1 and resumes(run) == 2  # the step that asks, and its answer
        if other == "cancel":
            assert (run.status, gate.status) in (("cancelled", "withdrawn"), ("cancelled", "decided"))
        assert type(done).__name__ not in ("OperationalError", "IntegrityError", "MoveRefused"), done
        PolicyChange.objects.all().delete()


def test_a_delegate_and_the_giver_have_one_vote_between_them(people_, ask):
    for _ in range(TIMES):
        gate = ask(Policy(approvers=["group:finance"], quorum=2))
        people.delegate(gate.pk, by=people_.bob, to="dave")

        def act(number, gate=gate):
            if number == 0:
                return vote(gate, people_.dave)
            people.take_back_delegation(gate.pk, by=people_.bob)
            return vote(gate, people_.bob)

        results = together(2, act)
        assert names(results)["Decision"] == 1, results
        assert gate.decisions.standing().count() == 1


def test_a_deputy_and_who_is_away_have_one_vote_between_them(people_, ask):
    now = database_now()
    Absence.objects.create(user=people_.bob, deputy=people_.dave, starts=now - HOUR, ends=now + HOUR)
    for _ in range(TIMES):
        gate = ask(Policy(approvers=["group:finance"], quorum=2))
        results = together(2, lambda number, gate=gate: vote(gate, people_.bob if number else people_.dave))
        assert names(results) == {"Decision": 1, "NotYours": 1}, results


def test_two_levels_answered_at_once_by_one_person_are_answered_once(people_, ask):
    for _ in range(TIMES):
        levels = Policy(approvers=["group:finance"]), Policy(approvers=["group:finance"], distinct_from=["ask-1"])
        gates = list(ask(*levels).run.gates.order_by("ordinal"))
        results = together(2, lambda number, gates=gates: vote(gates[number], people_.bob))
        assert names(results) == {"Decision": 1, "NotYours": 1}, results


def test_of_many_claims_one_is_it(people_, ask):
    gate = ask(Policy(approvers=["group:finance"]))
    results = together(6, lambda number: people.claim(gate.pk, by=people_.bob if number % 2 else people_.erin))
    assert set(names(results)) == {"Gate", "AlreadyClaimed"}
    assert [event.facts()["text"] for event in gate.run.events.filter(kind="note")] == ["claimed it"]


def test_taking_back_against_the_worker_one_of_the_two(people_, make_gate, monkeypatch):
    for _ in range(TIMES * 2):
        gate = make_gate()
        decision = vote(gate, people_.bob, channel="page")
        Run.objects.filter(pk=gate.run_id).update(available_at=Now())
        back, taken = together(
            2, lambda number, gate=gate, decision=decision: claim.take_hinted(gate.run_id, 7) if number
            else take_back(gate.pk, decision.pk, by=people_.bob)
        )  # fmt: skip
        run, gate = Run.objects.get(pk=gate.run_id), Gate.objects.get(pk=gate.pk)
        if type(back).__name__ == "Gate":
            assert (taken, run.status, gate.status, run.pause) == (None, "waiting", "open", None)
        else:
            assert (type(back).__name__, run.status, gate.status) == ("TooLate", "running", "decided") and taken is not None
        Run.objects.filter(pk=gate.run_id).update(worker=None, status="held")


def test_taking_back_twice_at_once_takes_back_once(people_, make_gate):
    gate = make_gate()
    decision = vote(gate, people_.bob, channel="page")
    results = together(5, lambda number: take_back(gate.pk, decision.pk, by=people_.bob))
    assert names(results) == {"Gate": 1, "TooLate": 4}
    assert kinds(gate.run).count("gate_reopened boss") == 1


def test_a_form_from_before_a_gate_was_reopened_is_refused(people_, make_gate):
    gate = make_gate()
    decision = vote(gate, people_.bob, channel="page")
    take_back(gate.pk, decision.pk, by=people_.bob)
    results = together(4, lambda number: vote(gate, people_.erin))  # with the version of before
    assert names(results) == {"GateChanged": 4}


def test_a_batch_against_single_decisions_decides_each_once(people_, ask):
    gates = [ask(Policy(approvers=["group:finance"])) for _ in range(4)]

    def act(number):
        return [_tried(gate, people_.bob if number else people_.erin) for gate in (gates if number else gates[::-1])]

    first, second = together(2, act)
    assert Counter([*first, *second]) == {"Decision": 4, "GateClosed": 4}
    assert all(gate.decisions.count() == 1 for gate in gates)


def _tried(gate, by):
    try:
        return type(vote(gate, by)).__name__
    except Exception as error:
        return type(error).__name__


@pytest.fixture
def people_(request):
    return request.getfixturevalue("people")
