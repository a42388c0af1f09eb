"""Who decides and by when, as authors write it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.models import ANY
from approvals.services.tallying import count
from workflows import Policy, Proposal, RegistrationError, State, Workflow, WorkingHours, escalate, registry

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = WorkingHours(zone="Europe/Berlin")
HOUR = 3600


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"quorum": {"group:legal": 1}, "approvers": ["group:finance"]}, "quorum names 'group:legal'"),
        ({"quorum": {"user:bob": 1}, "approvers": ["user:bob"]}, "quorum names 'user:bob'"),
        ({"quorum": {}, "approvers": ["user:bob"]}, "1 to 8 were"),
        ({"quorum": {"group:a": 0}, "approvers": ["group:a"]}, "whole number from 1"),
        ({"veto": 0}, "veto"),
        ({"veto": True}, "veto"),
        ({"comment": ["maybe"]}, "comment"),
        ({"comment": "reject"}, "list was expected"),
        ({"distinct_from": "manager"}, "list was expected"),
        ({"risk": "enormous"}, "risk"),
        ({"hours": "9 to 5"}, "WorkingHours"),
        ({"name": 3}, "name"),
    ],
)
def test_a_policy_that_cannot_work_says_what_was_expected(policy, word):
    with pytest.raises(ValueError, match=word):
        Policy(**policy)


@pytest.mark.parametrize(
    ("hours", "word"),
    [
        ({"zone": "Europe/Atlantis"}, "time zone"),
        ({"days": []}, "list of mon"),
        ({"days": "mon"}, "list of mon"),
        ({"start": "17:00", "end": "09:00"}, "before"),
        ({"start": "9"}, "a time such as"),
        ({"end": "24:30"}, "a time such as"),
        ({"holidays": "ATLANTIS"}, "a country"),
        ({"holidays": "DE-XX"}, "a country"),
        ({"closed": ["2026-12-24"]}, "list of dates"),
    ],
)
def test_working_hours_that_cannot_be_say_what_was_expected(hours, word):
    with pytest.raises(ValueError, match=word):
        WorkingHours(**hours)


def test_a_policy_and_its_json_are_the_same():
    policy = Policy(
        approvers=["group:finance", "role:admin"], quorum={"group:finance": 2}, veto=2, allow_self=False, timeout="24h",
        on_timeout=escalate(["user:carol"], timeout="4h", then=escalate(["role:admin"], timeout="1h", then="approve")),
        remind=["1h", "30m"], distinct_from=["manager"], comment=["reject"], risk="high", hours=OFFICE, name="big money",
    )  # fmt: skip
    assert Policy.from_json(policy.as_json()).as_json() == policy.as_json()
    assert Policy.from_json(Policy().as_json()).as_json() == Policy().as_json()


def test_a_gate_cannot_want_other_people_than_a_gate_that_is_not_there():
    class Empty(State):
        pass

    wrong = Workflow("t-wrong-level", state=Empty, version="1")
    wrong.gate(name="a", policy=Policy(distinct_from=["mananger"]))(lambda state: Proposal("?"))
    try:
        with pytest.raises(RegistrationError, match="distinct_from='mananger' is no gate"):
            wrong.finish()
    finally:
        registry.forget("t-wrong-level")


@pytest.mark.parametrize(
    ("begin", "hours", "due"),
    [
        ("2026-11-20 15:00", 4, "2026-11-23 11:00"),  # a Friday afternoon: on Monday, not on Friday night
        ("2026-11-21 12:00", 4, "2026-11-23 13:00"),  # asked on a Saturday
        ("2026-11-23 06:00", 4, "2026-11-23 13:00"),  # before the office opens
        ("2026-11-23 17:00", 1, "2026-11-24 10:00"),  # as it closes
        ("2026-11-23 09:00", 8, "2026-11-23 17:00"),  # exactly one day
        ("2026-11-23 09:00", 40, "2026-11-27 17:00"),
    ],
)
def test_the_clock_runs_in_working_hours_only(begin, hours, due):
    assert OFFICE.after(local(begin), hours * HOUR) == local(due)


def test_holidays_and_closed_days_are_no_working_days():
    office = WorkingHours(zone="Europe/Berlin", holidays="DE", closed=[date(2026, 12, 24)])
    assert office.after(local("2026-12-23 16:00"), 2 * HOUR) == local("2026-12-28 10:00")  # 24th closed, 25th a holiday
    assert "holidays of DE" in office.in_words()


@pytest.mark.parametrize(
    ("day", "length"),
    [("2026-03-29", 23), ("2026-10-25", 25)],  # the clocks go forward; back
)
def test_a_working_day_is_as_long_as_the_clocks_make_it(day, length):
    always = WorkingHours(zone="Europe/Berlin", days=["sun"], start="00:00", end="24:00")
    midnight = local(f"{day} 00:00")
    assert always.after(midnight, length * HOUR) == local(f"{day} 00:00") + timedelta(days=1)  # wall time: the next midnight
    following = (midnight + timedelta(days=7)).date()
    assert always.after(midnight, (length + 1) * HOUR) == local(f"{following} 01:00")


def test_hours_of_the_night_that_the_clocks_skip_do_not_count():
    night = WorkingHours(zone="Europe/Berlin", days=["sun"], start="01:00", end="05:00")  # 4 h by the clock on the wall
    assert night.after(local("2026-03-29 00:00"), 3 * HOUR) == local("2026-03-29 05:00")
    assert night.after(local("2026-10-25 00:00"), 5 * HOUR) == local("2026-10-25 05:00")


moments = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


@settings(max_examples=60, deadline=None)
@given(moments, st.floats(1, 400_000), st.floats(1, 400_000))
def test_working_time_adds_up_whatever_the_day(begin, first, second):
    office = WorkingHours(zone="America/New_York", holidays="US")
    at_once, one_by_one = office.after(begin, first + second), office.after(office.after(begin, first), second)
    assert abs((at_once - one_by_one).total_seconds()) < 0.001 and at_once > begin
    wall = at_once.astimezone(ZoneInfo("America/New_York"))
    assert wall.weekday() < 5 and 9 <= wall.hour + wall.minute / 60 + wall.second / 3600 <= 17.001


@pytest.mark.parametrize(
    ("quorum", "votes", "got"),
    [
        (2, [[], []], 2),
        ({"group:a": 1, "group:b": 1}, [["group:a", "group:b"]], 1),  # one person is not two
        ({"group:a": 1, "group:b": 1}, [["group:a", "group:b"], ["group:a"]], 2),  # the first moves over to b
        ({"group:a": 1, "group:b": 1}, [["group:a"], ["group:a"]], 1),
        ({"group:a": 2, "group:b": 1}, [["group:a"], [ANY], ["group:a", "group:b"]], 3),
        ({"group:a": 1}, [[]], 0),
    ],
)
def test_one_person_fills_one_place_of_a_quorum(quorum, votes, got):
    assert count(quorum, votes, 0).got == got
