"""What approvals cost and bring: counted from what people did, and never from what they did not."""

import pytest

from approvals import insight
from approvals.models import Decision, Gate
from runs.models import Run
from tests.conftest import drive


@pytest.fixture
def decided(make_run, worker, answer):
    """``decided("approve", after=60, looked=30)``: a gate that bob decided so long after it opened."""

    def make(verdict="approve", *, after=60.0, looked=None, by="bob", comment="", **more):
        run = make_run("t-gated", amount=400)
        worker(run)
        gate = run.gates.get()
        decision = answer(gate, by, verdict, comment=comment, looked_for_s=looked, **more)
        opened = Gate.objects.get(pk=gate.pk).opened_at
        from datetime import timedelta

        Decision.objects.filter(pk=decision.pk).update(at=opened + timedelta(seconds=after))
        return decision

    return make


def test_times_shares_and_people_are_counted(decided, people):
    decided(after=10, looked=3)
    decided(after=20, looked=15)
    decided("edit", after=30, args={"amount": 300})
    decided("reject", after=40, by="erin", comment="too dear")
    found = insight.of(people.dave, 30)
    [gate] = found.gates
    assert gate.name == ("t-gated", "boss") and gate.total == gate.by_people == 4
    assert dict(gate.count) == {"unchanged": 2, "edited": 1, "rejected": 1}
    assert gate.p50 == pytest.approx(25) and gate.p95 == pytest.approx(38.5)
    assert gate.unchanged_share == 0.5 and gate.stamped == 1
    assert [(by, why) for _, by, why in gate.reasons] == [("erin", "too dear")]
    assert [(one.name, one.decisions, one.approved, one.stamped) for one in found.people] == [
        ("bob", 3, 2, 1),
        ("erin", 1, 0, 0),
    ]
    assert [one.name for one in found.groups] == [("finance",)]
    assert sum(count for _, count, _ in gate.bars()) == 4


def test_without_a_page_the_time_since_it_opened_counts(decided, people):
    decided(after=3)
    decided(after=8)
    assert insight.of(people.dave, 30).gates[0].stamped == 1


def test_the_policys_decisions_are_nobodys_work(make_gate, people, at):
    from approvals.services import clock

    gate = make_gate()
    at("2 hours")
    clock.expire(gate.pk)
    found = insight.of(people.dave, 30)
    assert dict(found.gates[0].count) == {"timed out": 1} and found.people == [] and found.gates[0].p50 is None
    assert found.gates[0].unchanged_share == 0.0


def test_what_a_fork_took_over_or_somebody_took_back_is_not_counted(decided, people, worker):
    from approvals.services.taking_back import take_back
    from engine.services import forking

    first = decided(after=10)
    run = drive(worker, Run.objects.get(pk=first.gate.run_id))
    drive(worker, forking.fork(run.pk, by=people.carol, seq=0))
    second = decided(channel="page")
    take_back(second.gate_id, second.pk, by=people.bob)
    assert insight.of(people.dave, 30).every.total == 1


def group(unchanged, rejected):
    found = insight.Group(("x",))
    found.count.update({"unchanged": unchanged, "rejected": rejected})
    return found


@pytest.mark.parametrize(("unchanged", "rejected", "says"), [
    (19, 0, ""), (20, 0, "ask less often"), (19, 1, "ask less often"), (15, 5, ""), (10, 10, "people catch much"),
])  # fmt: skip
def test_a_hint_needs_enough_and_a_clear_share(unchanged, rejected, says):
    assert (says in group(unchanged, rejected).hint) if says else group(unchanged, rejected).hint == ""


def test_one_sees_only_gates_that_one_may_see(decided, people, client):
    decided()
    client.force_login(people.mallory)
    assert "Nothing was decided" in client.get("/insight/").content.decode()
    client.force_login(people.dave)
    page = client.get("/insight/?days=7").content.decode()
    assert "t-gated › boss" in page and "Approved unchanged" in page
    assert client.get("/insight/?days=abc").status_code == 200
    client.logout()
    assert client.get("/insight/").status_code == 302


def test_its_queries_do_not_grow_with_the_gates(decided, people, django_assert_max_num_queries):
    for _ in range(5):
        decided()
    with django_assert_max_num_queries(4):
        insight.of(people.dave, 30)
