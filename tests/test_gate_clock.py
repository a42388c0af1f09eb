"""What the clock does at a gate: reminders, levels of escalation, working hours; driven by the test's clock."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from approvals.models import Gate
from approvals.services import clock
from approvals.services.taking_back import take_back
from engine.sweeper import Sweeper
from runs.models import Run
from tests.conftest import kinds
from tests.gate_flows import OFFICE
from workflows import Policy, escalate

pytestmark = pytest.mark.django_db
TWICE = escalate(["group:finance-leads"], timeout="2h", then=escalate(["role:admin"], timeout="1h", then="reject"))


def swept(gate):
    """Sweep once, and the gate as it is then."""
    sweeper = Sweeper()
    sweeper.fire_gates()
    sweeper.remind()
    return Gate.objects.get(pk=gate.pk)


def said(gate):
    return [kind for kind in kinds(gate.run) if kind.partition(" ")[0] in ("reminded", "escalated", "decided")]


def test_reminders_come_before_the_deadline_once_each(ask, at):
    gate = ask(Policy(approvers=["group:finance"], timeout="4h", remind=["1h", "30m"]))
    for offset, count in (("179 minutes", 0), ("181 minutes", 1), ("185 minutes", 1), ("211 minutes", 2), ("239 minutes", 2)):
        at(offset)
        swept(gate)
        assert len(said(gate)) == count, offset
    at("241 minutes")
    assert swept(gate).outcome_verdict == "reject"
    assert said(gate) == ["reminded decide_", "reminded decide_", "decided decide_"]


def test_reminders_that_an_outage_has_delayed_are_one(ask, at):
    gate = ask(Policy(approvers=["group:finance"], timeout="4h", remind=["2h", "1h", "30m"]))
    at("220 minutes")
    swept(gate)
    assert swept(gate).remind_at is None and len(said(gate)) == 1


def test_an_escalation_adds_people_keeps_those_before_and_gives_each_level_its_time(ask, at, answer, people):
    gate = ask(Policy(approvers=["group:finance"], timeout="4h", on_timeout=TWICE, remind=["30m"]))
    began = gate.opened_at
    at("241 minutes")
    gate = swept(gate)
    assert (gate.level, gate.approver_groups, gate.version) == (1, ["finance", "finance-leads"], 1)
    assert gate.due_at == began + timedelta(hours=6)  # from the end of the level before
    assert gate.remind_at == began + timedelta(hours=5, minutes=30)
    at("361 minutes")
    gate = swept(gate)
    assert (gate.level, gate.approver_groups) == (2, ["admin", "finance", "finance-leads"])
    assert gate.due_at == began + timedelta(hours=7)
    answer(gate, "bob", "approve")  # he was asked first, and still is
    at("500 minutes")
    assert swept(gate).outcome_by == "bob"


def test_two_levels_that_nobody_answers_end_as_the_policy_says(ask, at):
    gate = ask(Policy(approvers=["group:finance"], timeout="4h", on_timeout=TWICE))
    for minutes in (241, 361, 421):
        at(f"{minutes} minutes")
        gate = swept(gate)
    assert (gate.status, gate.outcome_verdict, gate.outcome_by) == ("decided", "reject", "policy")
    assert said(gate) == ["escalated decide_", "escalated decide_", "decided decide_"]


def test_after_an_outage_the_next_level_has_its_full_time(ask, at):
    gate = ask(Policy(approvers=["group:finance"], timeout="1h", on_timeout=escalate(["role:admin"], timeout="1h")))
    at("10 hours")
    gate = swept(gate)
    assert gate.due_at is not None
    left = gate.due_at - gate.opened_at
    assert gate.level == 1 and timedelta(hours=10, minutes=59) < left < timedelta(hours=11, minutes=2)


def test_keep_reminds_once_per_timeout_and_never_ends_it(ask, at, answer):
    gate = ask(Policy(approvers=["group:finance"], timeout="1h", on_timeout="keep"))
    for hours in range(1, 5):
        at(f"{hours * 61} minutes")
        gate = swept(gate)
        assert (gate.is_open, gate.due_at, len(said(gate))) == (True, None, hours)
        assert swept(gate).remind_at == gate.remind_at
    answer(gate, "bob", "approve")


@pytest.mark.parametrize(("choice", "status"), [("approve", "queued"), ("fail", "failed"), ("reject", "queued")])
def test_the_timeouts_choice_is_what_happens(ask, at, choice, status):
    gate = ask(Policy(approvers=["group:finance"], timeout="1h", on_timeout=choice))
    at("61 minutes")
    gate = swept(gate)
    assert (gate.outcome_verdict, gate.outcome_by, Run.objects.get(pk=gate.run_id).status) == (choice, "policy", status)


def test_four_working_hours_do_not_run_out_at_night_or_on_a_sunday(ask):
    gate = ask(Policy(approvers=["group:finance"], timeout="4h", remind=["1h"], hours=OFFICE))
    wall = gate.due_at.astimezone(ZoneInfo("Europe/Berlin"))
    assert wall.weekday() < 5 and 9 <= wall.hour + wall.minute / 60 <= 17
    assert gate.due_at == OFFICE.after(gate.opened_at, 4 * 3600)
    assert gate.remind_at == OFFICE.after(gate.opened_at, 3 * 3600)


def test_a_decision_after_the_deadline_that_comes_before_the_timer_counts(ask, at, answer):
    gate = ask(Policy(approvers=["group:finance"], timeout="1h"))
    at("2 hours")
    answer(gate, "bob", "approve")
    assert clock.expire(gate.pk) is False
    assert Gate.objects.get(pk=gate.pk).outcome_by == "bob"


def test_who_takes_a_decision_back_has_a_minute_left_before_the_deadline(make_gate, at, people, answer):
    gate = make_gate()
    at("59 minutes 50 seconds")
    decision = answer(gate, "bob", "approve", channel="page")
    at("61 minutes")
    assert clock.expire(gate.pk) is False  # closed; no timer fires at it
    at("59 minutes 55 seconds")
    gate = take_back(gate.pk, decision.pk, by=people.bob)
    assert gate.due_at is not None
    left = gate.due_at - gate.opened_at
    assert gate.is_open and timedelta(minutes=60, seconds=54) < left < timedelta(minutes=62)
