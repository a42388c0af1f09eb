"""Claiming, delegating, snoozing, commenting, and being away with a deputy."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User

from approvals import rights
from approvals.models import Absence, Gate
from approvals.refusals import AlreadyClaimed, AlreadyVoted, GateClosed, InvalidDecision, NotYours
from approvals.services import absences, people
from runs.access import NotPermitted
from runs.clock import database_now
from workflows import Policy

pytestmark = pytest.mark.django_db
FINANCE = Policy(approvers=["group:finance"], allow_self=False)
HOUR = timedelta(hours=1)


@pytest.fixture
def frank(db):
    """Outside, like mallory; somebody to stand in."""
    return User.objects.create(username="frank")


@pytest.fixture
def people_(request):
    """The people; the module of that name is what is tested."""
    return request.getfixturevalue("people")


@pytest.fixture
def inbox():
    """The gates that a person could decide now; the other way of asking must say the same."""

    def look(user):
        user = User.objects.get(pk=user.pk)
        found = set(Gate.objects.decidable_by(user))
        assert found == {gate for gate in Gate.objects.open() if rights.standing(gate, user).right}
        return found

    return look


def notes(gate):
    return [event.facts() for event in gate.run.events.filter(kind="note").order_by("seq")]


def away(user, deputy, by=None):
    now = database_now()
    return absences.announce(user=user, by=by or user, deputy=deputy.username, starts=now - HOUR, ends=now + HOUR)


def test_a_claim_shows_who_is_on_it_and_keeps_nobody_from_deciding(ask, people_, answer):
    gate = ask(FINANCE)
    assert people.claim(gate.pk, by=people_.bob).claimed_by == people_.bob
    with pytest.raises(AlreadyClaimed, match="bob is on it"):
        people.claim(gate.pk, by=people_.erin)
    people.claim(gate.pk, by=people_.erin, take_over=True)
    assert [note["text"] for note in notes(gate)] == ["claimed it", "took it over from bob"]
    people.unclaim(gate.pk, by=people_.bob)  # not his any more: nothing happens
    assert Gate.objects.get(pk=gate.pk).claimed_by == people_.erin
    answer(gate, "bob", "approve")
    with pytest.raises(GateClosed):
        people.claim(gate.pk, by=people_.bob)


def test_a_claim_ends_by_itself(ask, people_, at):
    gate = ask(FINANCE)
    people.claim(gate.pk, by=people_.bob)
    assert not Gate.objects.left_to(people_.erin).filter(pk=gate.pk).exists()
    at("16 minutes")
    assert Gate.objects.left_to(people_.erin).filter(pk=gate.pk).exists()
    people.claim(gate.pk, by=people_.erin)


def test_who_cannot_decide_can_neither_claim_nor_delegate_nor_snooze(ask, people_):
    gate = ask(FINANCE)
    for name in ("alice", "carol", "dave", "mallory"):
        user = people_[name]
        for act in (
            lambda user=user: people.claim(gate.pk, by=user),
            lambda user=user: people.delegate(gate.pk, by=user, to="erin"),
            lambda user=user: people.snooze(gate.pk, by=user, until=database_now() + HOUR),
        ):
            with pytest.raises(NotYours):
                act()
    assert notes(gate) == []


def test_a_delegate_decides_in_the_givers_place_and_once(ask, people_, answer, frank, inbox):
    gate = ask(Policy(approvers=["group:finance"], quorum=2))
    assert not Gate.objects.visible_to(frank).exists()
    people.delegate(gate.pk, by=people_.bob, to="frank")
    assert inbox(frank) == {gate} and inbox(people_.bob) == set()
    assert Gate.objects.visible_to(frank).get() == gate
    with pytest.raises(NotYours, match="passed this on to frank"):
        answer(gate, "bob", "approve")
    people_["frank"] = frank
    decision = answer(gate, "frank", "approve")
    assert (decision.by, decision.holder, decision.acts_for) == (frank, people_.bob, "bob")
    with pytest.raises(AlreadyVoted, match="frank has voted for you"):
        people.take_back_delegation(gate.pk, by=people_.bob)
    with pytest.raises(NotYours, match="frank has voted for you"):
        answer(gate, "bob", "approve")
    answer(gate, "erin", "approve")
    assert Gate.objects.get(pk=gate.pk).status == "decided"


def test_what_was_passed_on_can_be_passed_on_again_and_taken_back(ask, people_, answer, frank, inbox):
    gate = ask(FINANCE)
    people.delegate(gate.pk, by=people_.bob, to="frank")
    people.delegate(gate.pk, by=frank, to="user:dave")
    assert (inbox(frank), inbox(people_.dave), inbox(people_.bob)) == (set(), {gate}, set())
    people.take_back_delegation(gate.pk, by=people_.bob)
    assert (inbox(people_.dave), inbox(people_.bob)) == (set(), {gate})
    texts = [note["text"] for note in notes(gate)]
    assert texts == ["passed it on to frank", "passed it on to dave what is bob’s to decide", "took it back from dave"]
    with pytest.raises(NotYours):
        people.take_back_delegation(gate.pk, by=people_.bob)


@pytest.mark.parametrize(
    ("to", "word"), [("nobody", "sign in"), ("bob", "already"), ("erin", "asked already"), ("alice", "started")]
)
def test_it_is_passed_on_only_to_who_could_decide_and_does_not_already(ask, people_, to, word):
    gate = ask(FINANCE)
    with pytest.raises(InvalidDecision, match=word):
        people.delegate(gate.pk, by=people_.bob, to=to)


def test_who_may_not_decide_their_own_run_cannot_have_a_friend_do_it(make_run, worker, people_, frank, inbox):
    people_.alice.groups.add(Group.objects.get(name="finance"))
    run = make_run("t-gated", amount=400)
    worker(run)
    gate = run.gates.get()
    with pytest.raises(NotYours, match="started this run"):
        people.delegate(gate.pk, by=User.objects.get(username="alice"), to="frank")
    away(people_.alice, frank)
    assert inbox(frank) == set()
    assert "alice, who started" in rights.standing(gate, frank).why_not


def test_a_deputy_decides_while_somebody_is_away(ask, people_, answer, frank, inbox, at):
    gate = ask(Policy(approvers=["group:finance"], quorum=2))
    away(people_.bob, frank)
    people_["frank"] = frank
    assert inbox(frank) == {gate} == inbox(people_.bob)
    at("61 minutes")  # over
    assert inbox(frank) == set()
    at("")
    assert answer(gate, "frank", "approve").acts_for == "bob"
    assert inbox(people_.bob) == set()
    with pytest.raises(NotYours, match="frank has voted for you"):
        answer(gate, "bob", "approve")


def test_a_deputy_who_is_asked_too_has_one_vote(ask, people_, answer, inbox):
    gate = ask(Policy(approvers=["group:finance"], quorum=2))
    away(people_.bob, people_.erin)
    assert answer(gate, "erin", "approve").acts_for == ""
    with pytest.raises(AlreadyVoted):
        answer(gate, "erin", "approve")
    assert inbox(people_.bob) == {gate}


def test_a_deputys_deputy_is_nobodys(ask, people_, frank, inbox):
    """A right does not pass through somebody who may be barred from using it: whoever started the run, say."""
    gate = ask(Policy(approvers=["user:bob"]))
    away(people_.bob, people_.dave)
    away(people_.dave, frank)
    away(frank, people_.bob)
    assert inbox(people_.dave) == inbox(people_.bob) == {gate}
    assert inbox(frank) == inbox(people_.erin) == set()


def test_an_absence_is_ones_own_to_announce_and_an_admins(people_, frank):
    now = database_now()
    with pytest.raises(NotPermitted):
        away(people_.bob, frank, by=people_.erin)
    absence = away(people_.bob, frank, by=people_.carol)
    for deputy, starts, ends, field in (
        ("nobody", now, now + HOUR, "deputy"), ("bob", now, now + HOUR, "deputy"),
        ("frank", now + HOUR, now, "ends"), ("frank", now - 2 * HOUR, now - HOUR, "ends"),
        ("frank", now, now + 5 * HOUR, "starts"),
    ):  # fmt: skip
        with pytest.raises(InvalidDecision) as caught:
            absences.announce(by=people_.bob, deputy=deputy, starts=starts, ends=ends)
        assert list(caught.value.errors) == [field]
    with pytest.raises(NotPermitted):
        absences.end(absence, by=people_.erin)
    absences.end(absence, by=people_.bob)
    assert not Absence.objects.now().exists()


def test_a_snoozed_gate_comes_back_and_its_clock_goes_on(ask, people_, at, answer):
    gate = ask(Policy(approvers=["group:finance"], timeout="8h"))
    now = database_now()
    for until in (now - HOUR, now + timedelta(hours=9)):
        with pytest.raises(InvalidDecision) as caught:
            people.snooze(gate.pk, by=people_.bob, until=until)
        assert "until" in caught.value.errors
    people.snooze(gate.pk, by=people_.bob, until=now + HOUR)
    mine = Gate.objects.decidable_by(people_.bob)
    assert (mine.awake_for(people_.bob).count(), Gate.objects.snoozed_by(people_.bob).count()) == (0, 1)
    assert Gate.objects.decidable_by(people_.erin).awake_for(people_.erin).exists()
    at("61 minutes")
    assert (mine.awake_for(people_.bob).count(), Gate.objects.snoozed_by(people_.bob).count()) == (1, 0)
    at("")
    people.wake(gate.pk, by=people_.bob)
    assert mine.awake_for(people_.bob).exists()
    answer(gate, "bob", "approve")
    with pytest.raises(GateClosed):
        people.snooze(gate.pk, by=people_.bob, until=now + HOUR)


def test_a_comment_is_in_the_journal_and_mentions_who_can_see_the_gate(ask, people_, answer):
    gate = ask(FINANCE)
    people.comment(gate.pk, by=people_.bob, text="@erin, @mallory and @nobody: look at bob@erin.com. @carol? <b>")
    (note,) = notes(gate)
    assert (note["act"], note["mentions"]) == ("comment", ["carol", "erin"])
    answer(gate, "bob", "approve")
    people.comment(gate.pk, by=people_.erin, text="seen")  # also afterwards
    for text in ("", "  ", "x" * 10_001, "a\0b"):
        with pytest.raises(InvalidDecision):
            people.comment(gate.pk, by=people_.bob, text=text)
    assert len(notes(gate)) == 2
