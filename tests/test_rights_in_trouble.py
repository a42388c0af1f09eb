"""Rights, policies and forks: what an adversary found there."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from approvals import dry_run, rights
from approvals.models import Absence, Gate
from approvals.refusals import InvalidDecision, NotYours
from approvals.services import absences, policies
from approvals.services import people as acts
from approvals.services.deciding import bypass
from approvals.services.taking_back import take_back
from engine.services import forking
from runs.clock import database_now
from runs.models import Run
from tests import flows
from tests.conftest import drive, join, kinds
from workflows import Policy

pytestmark = pytest.mark.django_db


HOUR = timedelta(hours=1)


def undo(gate, decision, by):
    return take_back(gate.pk, decision.pk, by=by)


def tried(gate):
    return dry_run.of(gate.run.workflow, gate.key, gate.policy)


HOUR = timedelta(hours=1)


def test_a_fork_does_not_take_what_can_still_be_taken_back(make_gate, answer, people, worker, at):
    gate = make_gate()
    decision = answer(gate, "bob", "approve", channel="page")
    forked = forking.fork(gate.run_id, seq=1, by=people.carol, effects="execute")
    drive(worker, forked)
    undo(gate, decision, people.bob)
    assert "pay 400" not in flows.calls, "the fork has paid on an approval that was taken back"


def test_a_fork_does_not_take_an_approval_given_in_the_place_of_who_starts_it(make_gate, answer, people, worker):
    join(people.carol, "finance")
    gate = make_gate()
    acts.delegate(gate.pk, by=people.carol, to="mallory")
    answer(gate, "mallory", "approve")
    drive(worker, gate.run)
    flows.calls.clear()
    forked = forking.fork(gate.run_id, seq=1, by=people.carol, effects="execute")
    assert drive(worker, forked).status == "waiting", flows.calls


def test_a_fork_after_the_gate_does_not_take_an_approval_given_in_the_place_of_who_starts_it(make_gate, answer, people, worker):
    join(people.carol, "finance")
    gate = make_gate()
    acts.delegate(gate.pk, by=people.carol, to="mallory")
    answer(gate, "mallory", "approve")
    run = drive(worker, gate.run)
    seq = next(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint boss")
    flows.calls.clear()
    forked = forking.fork(gate.run_id, seq=seq, by=people.carol, effects="execute")
    assert drive(worker, forked).status == "waiting", flows.calls


def test_a_fork_behind_the_gate_looks_again_before_it_buys(make_gate, answer, people, worker):
    gate = make_gate("t-fresh", amount=400)
    answer(gate, "bob", "approve")
    run = drive(worker, gate.run)
    seq = next(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint offer")
    flows.calls.clear()
    flows.script["price"] = 480
    forked = forking.fork(run.pk, seq=seq, by=people.carol, effects="execute")
    drive(worker, forked)
    assert flows.calls != ["buy 400"]


def test_who_may_not_decide_their_own_run_cannot_have_their_deputy_use_anothers_right(ask, people):
    gate = ask(Policy(approvers=["user:bob"], allow_self=False))
    now = database_now()
    for user, deputy in (("bob", "alice"), ("alice", "mallory")):
        absences.announce(by=people[user], deputy=deputy, starts=now - HOUR, ends=now + HOUR)
    assert rights.standing(gate, people.alice).right is None
    assert rights.standing(gate, people.mallory).right is None


@pytest.mark.parametrize(
    "given",
    [
        {"approvers": None, "quorum": {"group:legal": 1}},
        {"approvers": None, "quorum": 2},
        {"timeout": "9999d", "hours": {"zone": "UTC", "days": ["mon"], "start": "09:00", "end": "09:01"}},
        {"timeout": "99999999999d"},
        {"timeout": "999999d", "on_timeout": "keep"},
        {"timeout": "9999999d", "on_timeout": "keep"},
    ],
)
def test_an_admins_policy_and_its_clock_never_fail_the_run(make_run, worker, people, given):
    try:
        policies.change("t-chosen", "whoever", given, by=people.carol, reason="x")
    except policies.PolicyInvalid:
        return
    run = make_run("t-chosen", amount=50)
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "waiting", Run.objects.get(pk=run.pk).error


def test_a_gate_whose_only_approver_has_approved_the_level_before_goes_to_admins(make_run, worker, answer, people):
    policies.change(
        "t-levels", "director", {"approvers": ["user:bob"], "distinct_from": ["manager"]}, by=people.carol, reason="x"
    )
    run = make_run("t-levels", amount=5)
    worker(run)
    answer(run.gates.get(), "bob", "approve")
    worker(run)
    second = run.gates.get(status="open")
    assert any(rights.standing(second, user).right for user in people.values()), "nobody may ever answer"


def test_the_same_policy_would_have_done_the_same_with_a_delegate(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance"]))
    acts.delegate(gate.pk, by=people.bob, to="mallory")
    answer(gate, "mallory", "approve")
    (found,) = tried(gate).gates
    assert (found.is_same, list(found.turned_away)) == (True, [])


def test_the_same_policy_would_have_done_the_same_with_a_vote_taken_back(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance"]))
    undo(gate, answer(gate, "bob", "reject", channel="page"), people.bob)
    answer(gate, "erin", "approve")
    (found,) = tried(gate).gates
    assert found.is_same, found.would


def test_one_right_is_one_level(make_run, worker, answer, people):
    run = make_run("t-levels", amount=5)
    worker(run)
    first = run.gates.get()
    acts.delegate(first.pk, by=people.bob, to="mallory")
    answer(first, "mallory", "approve")
    worker(run)
    second = run.gates.get(status="open")
    with pytest.raises(NotYours):
        answer(second, "bob", "approve")


def test_bypass_of_the_second_level_by_who_approved_the_first(make_run, worker, answer, people):
    from approvals.refusals import NotYours

    join(people.carol, "finance")
    run = make_run("t-levels", amount=5)
    worker(run)
    answer(run.gates.get(), "carol", "approve")
    worker(run)
    second = run.gates.get(status="open")
    with pytest.raises(NotYours):
        bypass(second.pk, by=people.carol, verdict="approve", reason="quick", channel="api")


def test_unreachable_quorum_goes_to_admins(ask, people):
    gate = ask(Policy(approvers=["group:finance", "group:legal"], quorum={"group:finance": 1, "group:legal": 1}))
    assert "admin" in gate.approver_groups, gate.approver_groups


def test_delegate_back(ask, people, answer):
    gate = ask(Policy(approvers=["user:bob"]))
    acts.delegate(gate.pk, by=people.bob, to="mallory")
    acts.delegate(gate.pk, by=people.mallory, to="bob")
    assert rights.standing(gate, people.bob).right
    assert Gate.objects.decidable_by(people.bob).exists()
    with pytest.raises(InvalidDecision):
        acts.delegate(gate.pk, by=people.bob, to="bob")


def test_sql_and_python_agree_on_who_may_decide(ask, people):
    """Random agreement of SQL and Python."""
    import random

    rnd = random.Random(5)
    now = database_now()
    names = list(people)
    bad = []
    for turn in range(6):
        (
            [
                Policy(
                    approvers=rnd.sample(["group:finance", "user:bob", "user:alice", "role:admin", "user:mallory"], 2),
                    quorum=rnd.choice([1, 2, 3]) if True else 1,
                    allow_self=rnd.random() < 0.5,
                    distinct_from=rnd.choice([[], ["ask-2"], ["ask-1"]]),
                )
                for _ in range(2)
            ]
            if False
            else None
        )
        ps = []
        for _ in range(2):
            ps.append(
                Policy(
                    approvers=["group:finance", *rnd.sample(["user:alice", "role:admin", "user:mallory"], 2)],
                    quorum=rnd.choice([2, 3]),
                    allow_self=rnd.random() < 0.5,
                    distinct_from=rnd.choice([[], ["ask-2"], ["ask-1"]]),
                )
            )
        gate = ask(*ps)
        gates = list(gate.run.gates.all())
        Absence.objects.all().delete()
        for _ in range(2):
            a, b = rnd.sample(names, 2)
            Absence.objects.create(
                user=people[a], deputy=people[b], starts=now - timedelta(hours=1), ends=now + timedelta(hours=1)
            )
        for _ in range(6):
            g = rnd.choice(gates)
            who = rnd.choice(names)
            u = User.objects.get(username=who)
            try:
                if rnd.random() < 0.5:
                    acts.delegate(g.pk, by=u, to=rnd.choice(names))
                else:
                    from approvals.services.deciding import decide

                    g.refresh_from_db()
                    decide(
                        g.pk,
                        by=u,
                        verdict=rnd.choice(["approve", "reject"]),
                        version=g.version,
                        proposal_hash=g.proposal_hash,
                        channel="api",
                    )
            except Exception as e:
                if type(e).__module__.startswith("django") or "psycopg" in type(e).__module__:
                    raise
            for n in names:
                u = User.objects.get(username=n)
                sql = set(Gate.objects.decidable_by(u).filter(run=gate.run))
                py = {x for x in Gate.objects.open().filter(run=gate.run) if rights.standing(x, u).right}
                if sql != py:
                    bad.append((turn, n, sql, py))
    assert not bad, bad[:3]


def test_a_quorum_of_nought_is_refused(make_run, worker, people):
    with pytest.raises(policies.PolicyInvalid):
        policies.change("t-chosen", "whoever", {"approvers": None, "quorum": 0}, by=people.carol, reason="x")


def test_a_fork_behind_an_ask_is_refused_where_its_starter_has_approved_it(ask, answer, people, worker):
    from engine.services.forking import fork
    from engine.services.starting import InputInvalid

    join(people.carol, "finance")
    gate = ask(Policy(approvers=["group:finance"], allow_self=False))
    answer(gate, "carol", "approve")
    drive(worker, gate.run)
    seq = max(row.seq for row in gate.run.checkpoints.filter(step="decide_"))
    with pytest.raises(InputInvalid, match="may not approve the fork"):
        fork(gate.run_id, seq=seq, by=people.carol, effects="execute")
