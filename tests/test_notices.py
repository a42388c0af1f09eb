"""What reaches people: each occasion once, to whom it concerns, when they want it; and a run is never the worse for it."""

from datetime import time, timedelta

import pytest
from django.core import mail
from django.db import transaction

from approvals.models import Channel, Delivery, DeliveryState, Occasion, Preference
from approvals.notifying import handing_on, occasions
from approvals.services import absences, channels, clock, preferences
from approvals.services import people as at_gates
from engine.services import controls
from runs.clock import database_now
from runs.models import Kind, Notice, Run
from runs.services import journal, moves
from tests.conftest import drive


def told(occasion=None):
    """To whom what was sent, in order."""
    rows = Delivery.objects.filter(user__isnull=False).order_by("created_at", "user__username")
    rows = rows.filter(occasion=occasion) if occasion else rows
    return [(row.user.username, row.occasion.removeprefix("gate.").removeprefix("run."), row.state) for row in rows]


def names(occasion):
    return sorted(name for name, _, _ in told(occasion))


def prefer(user, **given):
    names = ("email", "events", "by_workflow", "all_runs", "browser", "zone", "digest_at", "quiet_from", "quiet_to")
    usual = {name: getattr(Preference(user=user), name) for name in names}
    return preferences.change(user, {**usual, **given})


def test_who_can_decide_is_told_that_a_gate_opened_and_nobody_else(make_gate, deliver):
    gate = make_gate()
    assert Notice.objects.count() == 1
    deliver()
    assert names(Occasion.OPENED) == ["bob", "erin"] and Notice.objects.count() == 0
    assert [message.to for message in mail.outbox] == [["bob@example.com"], ["erin@example.com"]]
    assert mail.outbox[0].subject == "Decision needed: “Pay 400”"
    deliver()
    assert len(mail.outbox) == 2
    text = mail.outbox[0].body
    assert "amount: 400" in text and "please **pay**" in text and "rejected" in text and "/links/" in text
    assert gate.title in text


def test_whoever_started_the_run_and_may_not_decide_is_not_asked(make_run, worker, people, deliver):
    from tests.conftest import join

    join(people.bob, "operator")
    worker(make_run("t-gated", by="bob", amount=400))
    deliver()
    assert names(Occasion.OPENED) == ["erin"]


def test_deputies_and_those_it_was_passed_on_to_are_asked(make_gate, people, deliver):
    now = database_now()
    absences.announce(by=people.bob, deputy="carol", starts=now - timedelta(days=1), ends=now + timedelta(days=1))
    gate = make_gate()
    deliver()
    assert names(Occasion.OPENED) == ["bob", "carol", "erin"]
    at_gates.delegate(gate.pk, by=people.erin, to="dave", reason="holidays")
    deliver()
    assert names(Occasion.DELEGATED) == ["dave"]
    assert "erin passed on to you" in mail.outbox[-1].subject and "holidays" in mail.outbox[-1].body


def test_each_occasion_of_a_gates_life_is_told_once_to_whom_it_concerns(ask, people, answer, at, deliver):
    from workflows import Policy, escalate

    for user in (people.bob, people.erin, people.alice):
        prefer(user, events=[str(one) for one in Occasion.real()])
    gate = ask(Policy(approvers=["user:bob"], timeout="2h", remind=["1h"], on_timeout=escalate(["user:erin"], timeout="1h")))
    seen = []

    def fresh():
        deliver()
        new = [row for row in sorted(told()) if row not in seen]
        seen.extend(new)
        return [(name, what) for name, what, _ in new]

    assert fresh() == [("bob", "opened")]
    at_gates.comment(gate.pk, by=people.bob, text="what do you think, @alice and @mallory?")
    assert fresh() == [("alice", "mentioned")]
    at("61 minutes")
    assert clock.remind(gate.pk)
    assert fresh() == [("bob", "reminded")]
    at("121 minutes")
    assert clock.expire(gate.pk)
    assert fresh() == [("bob", "escalated"), ("erin", "escalated")]
    at("182 minutes")
    assert clock.expire(gate.pk)
    assert fresh() == [("alice", "expired"), ("bob", "expired"), ("erin", "expired")]
    assert "Nobody decided in time" in mail.outbox[-1].subject


def test_a_vote_of_several_is_no_decision_yet(make_run, worker, people, answer, deliver):
    prefer(people.alice, events=[str(Occasion.DECIDED)])
    run = make_run("t-quorum")
    worker(run)
    gate = run.gates.get()
    answer(gate, "bob", "approve")
    deliver()
    assert names(Occasion.DECIDED) == []
    answer(gate, "erin", "approve")
    deliver()
    assert names(Occasion.DECIDED) == ["alice"]


def test_withdrawn_with_the_reason(make_gate, people, deliver):
    prefer(people.bob, events=[str(Occasion.OPENED), str(Occasion.WITHDRAWN)])
    gate = make_gate()
    deliver()
    controls.cancel(gate.run_id, by=people.alice)
    deliver()
    assert names(Occasion.WITHDRAWN) == ["bob"] and "the run was cancelled" in mail.outbox[-1].body


def test_a_failed_run_is_told_to_who_started_it_and_to_operators_who_want_everybodys(make_run, worker, people, deliver):
    from tests import flows

    people.dave.groups.add(people.alice.groups.get(name="operator"))
    prefer(people.dave, all_runs=True)
    prefer(people.mallory, all_runs=True)  # no operator
    flows.script["do"] = lambda state, ctx: flows.permanent()
    drive(worker, make_run("t-strict"))
    deliver()
    assert names(Occasion.FAILED) == ["alice", "dave"]
    assert "Permanent: never" in mail.outbox[0].body and "failed" in mail.outbox[0].subject


def test_a_rolled_back_run_is_told(make_run, worker, people, deliver):
    run = make_run("t-line")
    drive(worker, run)
    controls.roll_back(run.pk, by=people.carol)
    drive(worker, run)
    assert Run.objects.get(pk=run.pk).status == "rolled_back"
    deliver()
    assert names(Occasion.ROLLED_BACK) == ["alice"]


def test_what_somebody_has_not_asked_for_is_not_sent(make_gate, people, deliver):
    prefer(people.bob, email="off")
    prefer(people.erin, by_workflow={"t-gated": "off"})
    make_gate()
    deliver()
    assert told() == [] and mail.outbox == []


def test_who_has_no_address_is_left_out(make_gate, people, deliver):
    people.bob.email = ""
    people.bob.save()
    make_gate()
    deliver()
    assert names(Occasion.OPENED) == ["erin"]


# -- when


def at_clock(hour, minute=0):
    """Shift the database's clock so that it shows that time tomorrow, in UTC: whatever it is now, that is later."""
    from runs.clock import offset_for_tests

    offset_for_tests("")
    now = database_now()
    ahead = 86_400 + (hour - now.hour) * 3600 + (minute - now.minute) * 60 - now.second
    offset_for_tests(f"{ahead} seconds")


def test_quiet_hours_hold_back_what_can_wait(make_gate, people, deliver, at):
    at_clock(23)
    prefer(people.bob, quiet_from=time(22), quiet_to=time(7))
    prefer(people.erin, quiet_from=time(22), quiet_to=time(23, 30))
    make_gate()  # is over at midnight: it cannot wait for bob's morning; erin's quiet hours end before
    deliver()
    assert [message.to[0] for message in mail.outbox] == ["bob@example.com"]
    held = Delivery.objects.get(user=people.erin)
    assert (held.due_at.hour, held.due_at.minute, held.state) == (23, 30, "waiting")
    at_clock(23, 31)
    deliver()
    assert [message.to[0] for message in mail.outbox] == ["bob@example.com", "erin@example.com"]


def test_quiet_hours_are_those_of_the_persons_own_zone(people):
    from approvals.notifying import schedule

    preference = prefer(people.bob, zone="Asia/Tokyo", quiet_from=time(22), quiet_to=time(7))
    quiet = database_now().replace(hour=14, minute=0, second=0, microsecond=0)  # 23:00 in Tokyo
    assert schedule.after_quiet(preference, quiet).hour == 22  # 07:00 there
    assert schedule.after_quiet(preference, quiet.replace(hour=12)) == quiet.replace(hour=12)


def test_a_digest_is_one_message_of_all_that_still_matters(make_run, worker, people, answer, deliver, at):
    at_clock(10)
    prefer(people.bob, email="digest", digest_at=time(17))
    gates = []
    for number in range(3):
        run = make_run("t-quorum", amount=number)  # no deadline
        worker(run)
        gates.append(run.gates.get())
    people.erin.email = ""
    people.erin.save()
    people.carol.email = ""
    people.carol.save()
    Delivery.objects.all().delete()
    deliver()
    assert mail.outbox == []
    answer(gates[0], "erin", "reject", comment="no")
    at_clock(17, 1)
    deliver()
    assert [message.subject for message in mail.outbox] == ["2 decisions wait for you"]
    assert [state for name, what, state in told(Occasion.OPENED) if name == "bob"].count("overtaken") == 1
    deliver()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(("given", "field"), [
    ({"email": "hourly"}, "email"),
    ({"events": ["gate.flew"]}, "events"),
    ({"zone": "Mars/Base"}, "zone"),
    ({"zone": "../../etc/passwd"}, "zone"),
    ({"zone": "localtime"}, "zone"),
    ({"quiet_from": time(1)}, "quiet_to"),
    ({"by_workflow": {"t-line": "often"}}, "by_workflow"),
])  # fmt: skip
def test_a_preference_that_cannot_be_names_its_field(people, given, field):
    with pytest.raises(preferences.PreferenceInvalid) as refused:
        prefer(people.bob, **given)
    assert list(refused.value.errors) == [field]
    assert not Preference.objects.exists()


# -- the outbox


def test_an_entry_and_its_notice_are_one_commit(make_run, people):
    run = make_run()
    with pytest.raises(RuntimeError), transaction.atomic():
        moves.record(run, journal.Entry(Kind.NOTE, "", None, "alice", {"act": "stuck", "text": "x"}))
        assert Notice.objects.count() == 1
        raise RuntimeError
    assert Notice.objects.count() == 0


def test_entries_that_nobody_is_told_of_leave_no_notice(make_run, worker):
    drive(worker, make_run())
    assert Notice.objects.count() == 0


def test_a_notice_that_cannot_be_handed_on_does_not_stop_the_others_and_is_not_lost(make_gate, deliver, monkeypatch, at):
    first, second = make_gate(), make_gate()
    real = occasions.of
    poisoned = lambda run_id, seq: 1 / 0 if run_id == first.run_id else real(run_id, seq)  # noqa: E731
    monkeypatch.setattr(occasions, "of", poisoned)
    deliver()
    assert set(Delivery.objects.values_list("gate", flat=True)) == {second.pk}
    left = Notice.objects.get()
    assert left.tries == 1 and left.due_at > database_now()
    monkeypatch.setattr(occasions, "of", real)
    at("1 minute")
    deliver()
    assert set(Delivery.objects.values_list("gate", flat=True)) == {first.pk, second.pk}


def test_handing_on_twice_tells_once(make_gate):
    gate = make_gate()
    notice = Notice.objects.get()
    kept = (notice.run_id, notice.seq)
    handing_on.hand_on()
    Notice.objects.create(run_id=kept[0], seq=kept[1])  # as if the first had died before its commit was known
    handing_on.hand_on()
    assert Delivery.objects.filter(gate=gate).count() == 2


def test_a_run_that_is_gone_takes_its_notices_along(make_gate, deliver):
    gate = make_gate()
    Notice.objects.update(run="00000000-0000-0000-0000-000000000000")
    deliver()
    assert Notice.objects.count() == 0 and Delivery.objects.filter(gate=gate).count() == 0


def test_a_decision_that_a_fork_takes_over_is_told_to_nobody(make_gate, answer, worker, people, deliver):
    from engine.services import forking

    gate = make_gate()
    answer(gate, "bob", "approve")
    drive(worker, Run.objects.get(pk=gate.run_id))
    deliver()
    before = Delivery.objects.count()
    fork = forking.fork(gate.run_id, by=people.carol, seq=0)
    drive(worker, fork)
    assert fork.gates.exclude(carried_from=None).exists()
    deliver()
    assert Delivery.objects.count() == before


def test_a_message_is_sent_when_the_mail_server_is_back(make_gate, people, deliver, at, monkeypatch):
    from django.core.mail import EmailMultiAlternatives

    people.erin.email = ""
    people.erin.save()
    real = EmailMultiAlternatives.send

    def refuse(self, *args, **options):
        raise ConnectionRefusedError("nothing listens")

    monkeypatch.setattr(EmailMultiAlternatives, "send", refuse)
    make_gate()
    deliver()
    delivery = Delivery.objects.get(user=people.bob)
    assert (delivery.state, delivery.tries) == (DeliveryState.WAITING, 1)
    assert "ConnectionRefusedError: nothing listens" in delivery.log.get().error
    monkeypatch.setattr(EmailMultiAlternatives, "send", real)
    deliver()
    assert mail.outbox == []  # not before its time
    at("6 seconds")
    deliver()
    assert [message.extra_headers["Message-ID"] for message in mail.outbox] == [f"<{delivery.pk}@localhost>"]


def test_titles_and_texts_of_a_workflow_cannot_forge_a_message(ask, people, deliver):
    from tests import flows
    from workflows import Policy

    assert flows
    gate = ask(Policy(approvers=["user:bob"]))
    type(gate).objects.filter(pk=gate.pk).update(
        title="Pay\r\nBcc: x@example.com <b>1</b>", summary="<img src=https://evil.example/x>\u202e"
    )
    deliver()
    message = mail.outbox[0]
    assert "\n" not in message.subject and "Bcc" not in message.message()
    html = str(message.alternatives[0][0])  # type: ignore[attr-defined] # it has two parts
    assert "<b>1</b>" not in html and "<img" not in html and "⟨U+202E⟩" in html


def test_a_channel_hears_of_what_it_wants_and_of_what_a_policy_names_it_for(make_run, worker, people, deliver, ask):
    from workflows import Policy

    def channel(name, **more):
        return channels.create(
            by=people.carol, name=name, kind="apprise", url="json://example.com/x", events=[str(Occasion.OPENED)], **more
        )

    channel("all")
    channel("others", workflows=["t-line"])
    channel("mine", workflows=["t-ruled"])
    channel("named", only_named=True)
    channel("unnamed", only_named=True)
    off = channel("off")
    channels.switch(off.pk, by=people.carol, on=False)
    ask(Policy(approvers=["user:bob"], notify=["named"]))
    handing_on.hand_on()
    found = Delivery.objects.filter(channel__isnull=False).values_list("channel__name", flat=True)
    assert sorted(found) == ["all", "mine", "named"]
    assert Channel.objects.count() == 6


def test_the_body_of_a_message_is_small(make_gate, people):
    from approvals.notifying.occasions import body, of
    from workflows import codec

    gate = make_gate()
    told_of = of(gate.run_id, gate.seq)
    assert told_of is not None and len(codec.dumps(body(told_of))) < 20_000


def test_one_person_with_a_broken_preference_does_not_keep_others_from_hearing(make_gate, people, deliver):
    Preference.objects.create(user=people.bob, zone="Nowhere/Gone", quiet_from=time(0), quiet_to=time(23, 59))
    make_gate()
    deliver()
    assert "erin" in names(Occasion.OPENED) and Notice.objects.count() == 0


def test_an_address_that_is_refused_holds_up_nobody_else(make_gate, people, deliver, monkeypatch):
    import smtplib

    from django.core.mail import EmailMultiAlternatives

    real = EmailMultiAlternatives.send

    def send(self, *args, **options):
        if self.to == ["bob@example.com"]:
            raise smtplib.SMTPRecipientsRefused({"bob@example.com": (550, b"no such user")})
        return real(self, *args, **options)

    monkeypatch.setattr(EmailMultiAlternatives, "send", send)
    make_gate()
    deliver()
    assert [message.to for message in mail.outbox] == [["erin@example.com"]]
    assert Delivery.objects.get(user=people.bob).state == DeliveryState.FAILED  # for good


def test_who_may_not_sign_in_or_see_it_any_more_is_told_nothing(make_gate, people, deliver):
    gate = make_gate()
    at_gates.comment(gate.pk, by=people.erin, text="@bob and @dave, look")
    handing_on.hand_on()
    handing_on.hand_on()
    people.bob.is_active = False
    people.bob.save()
    people.dave.groups.clear()
    deliver()
    assert "bob@example.com" not in [to for message in mail.outbox for to in message.to]
    assert set(Delivery.objects.filter(occasion=Occasion.MENTIONED).values_list("state", flat=True)) == {"overtaken"}


def test_without_a_mail_server_no_mail_is_queued(make_gate, deliver, settings):
    settings.HOLDFAST_SENDS_MAIL = False
    make_gate()
    deliver()
    assert Delivery.objects.count() == 0


def test_a_decision_that_is_taken_back_in_time_is_told_to_nobody(make_gate, people, answer, deliver, at):
    from approvals.services.taking_back import take_back

    prefer(people.alice, events=[str(Occasion.DECIDED)])
    gate = make_gate()
    deliver()
    before = len(mail.outbox)
    vote = answer(gate, "bob", "approve", channel="page")
    deliver()
    take_back(gate.pk, vote.pk, by=people.bob)
    at("10 seconds")
    deliver()
    assert len(mail.outbox) == before and Notice.objects.count() == 0
    answer(gate, "bob", "approve", channel="page")
    deliver()
    assert names(Occasion.DECIDED) == []
    at("20 seconds")
    deliver()
    assert names(Occasion.DECIDED) == ["alice"]


def test_what_comes_first_in_a_run_is_handed_on_first(make_gate, answer, people):
    prefer(people.erin, events=[str(Occasion.OPENED), str(Occasion.DECIDED)])
    answer(make_gate(), "bob", "approve")
    first, second = Notice.objects.order_by("seq")
    assert not handing_on._hand_on(second.pk) and handing_on._hand_on(first.pk) and handing_on._hand_on(second.pk)
    assert names(Occasion.DECIDED) == ["erin"]


def test_quiet_hours_end_the_second_time_that_the_clock_shows_it(people):
    from datetime import UTC, datetime

    from approvals.notifying import schedule

    preference = prefer(people.bob, zone="europe/berlin", quiet_from=time(22), quiet_to=time(2, 30))
    assert preference.zone == "Europe/Berlin"
    second = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15, after the clocks went back
    assert schedule.after_quiet(preference, second) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_failure_says_what_was_done_outside_before(make_run, worker, people, deliver, answer):
    run = make_run("t-effect")
    drive(worker, run)
    assert occasions._done(Run.objects.get(pk=run.pk)) == ["act"]


def test_old_messages_are_forgotten(make_gate, deliver, at):
    from approvals.services import keeping

    make_gate()
    deliver()
    assert keeping.forget_messages() == 0
    at("91 days")
    assert keeping.forget_messages() >= 2 and Delivery.objects.count() == 0
