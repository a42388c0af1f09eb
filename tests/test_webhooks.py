"""Outbound webhooks: signed, each event once by the schedule, honest about a receiver that is down, never into our network."""

import itertools
import json
import socket
from datetime import datetime, timedelta
from ipaddress import ip_network

import pytest
import standardwebhooks.webhooks as reference
from django.db import connection
from standardwebhooks import Webhook

from approvals.models import Channel, Delivery, DeliveryState, Occasion
from approvals.notifying import apprising, delivering, outbound, schedule
from approvals.services import channels
from runs.access import NotPermitted
from runs.clock import database_now, offset_for_tests
from runs.models import Act, AuditEntry
from tests.receiver import receiving

EVERYTHING = [str(one) for one in Occasion.real()]


@pytest.fixture
def receiver(settings):
    settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
    with receiving() as found:
        yield found


@pytest.fixture
def hook(receiver, people):
    for user in people.values():  # no e-mail in the way
        user.email = ""
        user.save(update_fields=["email"])
    return channels.create(by=people.carol, name="books", kind="webhook", url=f"{receiver.url}/hooks", events=EVERYTHING)


@pytest.fixture
def proven(monkeypatch):
    """Check a received message with the reference library, by the database's clock."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return database_now().astimezone(tz)

    monkeypatch.setattr(reference, "datetime", Clock)
    return lambda secret, got: Webhook(secret).verify(got[2], got[1])


def test_a_message_has_the_specified_shape_and_signature(hook, receiver, proven, make_gate, deliver):
    gate = make_gate()
    deliver()
    [(path, headers, body)] = receiver.got
    assert path == "/hooks" and headers["content-type"] == "application/json" and len(body) < 20_000
    told = proven(channels.opened(hook)["secrets"][0], receiver.got[0])
    assert set(told) == {"type", "timestamp", "data"} and told["type"] == "gate.opened"
    assert told["data"]["gate"]["id"] == str(gate.pk) and told["data"]["run"]["id"] == str(gate.run_id)
    assert told["data"]["gate"]["proposal_hash"] == gate.proposal_hash
    delivery = Delivery.objects.get()
    assert headers["webhook-id"] == str(delivery.pk) and delivery.state == DeliveryState.SENT
    assert delivery.log.get().status == 200
    with pytest.raises(reference.WebhookVerificationError):
        proven(channels.new_secret(), receiver.got[0])


def test_two_secrets_sign_while_one_is_rotated(hook, receiver, proven, make_gate, deliver, people):
    old = channels.opened(hook)["secrets"][0]
    new = channels.rotate_secret(hook.pk, by=people.carol)
    make_gate()
    deliver()
    assert proven(old, receiver.got[0]) and proven(new, receiver.got[0])
    channels.retire_secret(hook.pk, by=people.carol)
    make_gate()
    deliver()
    assert proven(new, receiver.got[1])
    with pytest.raises(reference.WebhookVerificationError):
        proven(old, receiver.got[1])
    third, fourth = channels.rotate_secret(hook.pk, by=people.carol), channels.rotate_secret(hook.pk, by=people.carol)
    hook.refresh_from_db()
    assert channels.opened(hook)["secrets"] == [fourth, third]  # two live, never more


@pytest.fixture(autouse=True)
def clock_put_right(db):
    yield
    offset_for_tests("")


def set_clock(moment):
    offset_for_tests("")
    offset_for_tests(f"{(moment - database_now()).total_seconds() + 0.5} seconds")


def tick(deliver):
    """Go to the moment at which the next delivery is due, and send what is; False where nothing waits any more."""
    due = Delivery.objects.waiting().order_by("due_at").values_list("due_at", flat=True).first()
    if due is None:
        return False
    set_clock(due)
    deliver()
    return True


def test_a_receiver_that_is_down_for_an_hour_gets_each_event_once_by_the_schedule(
    hook, receiver, proven, make_gate, answer, deliver
):  # fmt: skip
    receiver.always = (500, {})
    began = database_now()
    answer(make_gate(), "bob", "reject", comment="no")
    deliver()
    while tick(deliver):
        if (database_now() - began).total_seconds() > 1800:  # its next look comes after more than an hour
            receiver.always = (200, {})
        proven(channels.opened(hook)["secrets"][0], receiver.got[-1])
    assert sorted(receiver.types) == ["gate.decided"] * 5 + ["gate.opened"] * 5 and len(set(receiver.ids)) == 2
    for delivery in Delivery.objects.all():
        log = list(delivery.log.all())
        assert delivery.state == DeliveryState.SENT and [one.status for one in log] == [500] * 4 + [200]
        pauses = [(later.at - one.at).total_seconds() for one, later in itertools.pairwise(log)]
        assert pauses == pytest.approx([5, 300, 1800, 7200], abs=5)
    bodies: dict[str, set[str]] = {headers["webhook-id"]: set() for _, headers, _ in receiver.got}
    for _, headers, body in receiver.got:
        bodies[headers["webhook-id"]].add(body)
    assert [len(texts) for texts in bodies.values()] == [1, 1]  # the same message each time
    hook.refresh_from_db()
    assert hook.failures == 0 and not Channel.objects.dead().exists()


def test_after_the_last_try_it_failed_and_admins_see_the_dead_channel(hook, receiver, make_gate, deliver, people, client):
    receiver.always = (500, {})
    make_gate()
    deliver()
    while tick(deliver):
        pass
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.log.count()) == (DeliveryState.FAILED, len(schedule.PAUSES) + 1)
    client.force_login(people.carol)
    assert "Nothing gets through to books" in client.get("/policies/").content.decode()
    client.force_login(people.alice)
    assert "Nothing gets through" not in client.get("/policies/").content.decode()


def test_retry_after_is_honoured_and_an_overloaded_receiver_is_left_in_peace(hook, receiver, make_gate, deliver, at):
    receiver.answers = [(429, {"Retry-After": "120"})]
    make_gate()
    deliver()
    make_gate()
    deliver()
    assert len(receiver.got) == 1  # the second waits, too
    at("6 seconds")
    deliver()
    assert len(receiver.got) == 1
    at("125 seconds")
    deliver()
    assert sorted(receiver.types) == ["gate.opened"] * 3 and len(set(receiver.ids)) == 2


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2099 07:28:00 GMT", "99999999999", "soon", "-5", ""])
def test_odd_retry_afters_do_no_harm(hook, receiver, make_gate, deliver, text):
    receiver.answers = [(503, {"Retry-After": text})]
    make_gate()
    deliver()
    again = Delivery.objects.get().due_at - database_now()
    assert timedelta(0) < again <= timedelta(days=1)


def test_gone_switches_the_channel_off_and_says_why(hook, receiver, make_gate, deliver, people):
    receiver.answers = [(410, {})]
    make_gate()
    deliver()
    hook.refresh_from_db()
    assert not hook.is_enabled and "410" in hook.disabled_why and Channel.objects.dead().get() == hook
    assert Delivery.objects.get().state == DeliveryState.FAILED
    make_gate()
    deliver()
    assert len(receiver.got) == 1 and Delivery.objects.count() == 1
    channels.switch(hook.pk, by=people.carol, on=True)
    make_gate()
    deliver()
    assert len(receiver.got) == 2


def test_a_redirect_is_a_failure_and_not_followed(hook, receiver, make_gate, deliver):
    receiver.answers = [(302, {"Location": f"{receiver.url}/elsewhere"})]
    make_gate()
    deliver()
    assert [path for path, _, _ in receiver.got] == ["/hooks"]
    assert "302" in Delivery.objects.get().log.get().error


def test_what_waits_while_a_channel_is_off_is_sent_when_it_is_on_again(hook, receiver, make_gate, deliver, people):
    receiver.answers = [(500, {})]
    make_gate()
    deliver()
    channels.switch(hook.pk, by=people.carol, on=False)
    offset_for_tests("1 minute")
    deliver()
    assert len(receiver.got) == 1
    channels.switch(hook.pk, by=people.carol, on=True)
    deliver()
    assert len(receiver.got) == 2


def test_redelivery_has_the_same_id_and_is_an_act(hook, receiver, make_gate, deliver, people):
    make_gate()
    deliver()
    with pytest.raises(NotPermitted):
        channels.redeliver(Delivery.objects.get().pk, by=people.alice)
    channels.redeliver(Delivery.objects.get().pk, by=people.carol)
    deliver()
    assert len(receiver.got) == 2 and len(set(receiver.ids)) == 1 and receiver.got[0][2] == receiver.got[1][2]
    assert Delivery.objects.get().log.count() == 2
    assert AuditEntry.objects.filter(act=Act.REDELIVERED, actor="carol").count() == 1


def test_a_worker_that_dies_between_sending_and_noting_sends_once_more_with_the_same_id(
    hook, receiver, make_gate, deliver, monkeypatch
):
    make_gate()
    with monkeypatch.context() as patched:
        patched.setattr(delivering, "_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deliver()
    deliver()
    assert len(receiver.got) == 1  # it is taken: whoever has it may still be at work
    offset_for_tests("121 seconds")
    deliver()
    deliver()
    assert len(receiver.got) == 2 and len(set(receiver.ids)) == 1


def test_what_one_worker_has_taken_no_other_takes(hook, receiver, make_gate):
    from approvals.notifying import handing_on

    make_gate()
    handing_on.hand_on()
    assert len(delivering.take()) == 1 and delivering.take() == []


# -- into our own network


PRIVATE = ["http://127.0.0.1/x", "http://localhost/x", "http://10.1.2.3/", "http://192.168.0.1/", "http://172.16.5.5/",
           "http://169.254.169.254/latest/meta-data", "http://[::1]/", "http://[fe80::1]/", "http://[fc00::1]/",
           "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://0.0.0.0/",
           "http://100.64.0.1/", "http://224.0.0.1/", "http://[64:ff9b:1::a00:1]/", "http://[fec0::1]/",
           "http://[::7f00:1]/"]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_refused_as_it_is_typed(people, url):
    with pytest.raises(channels.ChannelInvalid) as refused:
        channels.create(by=people.carol, name="inside", kind="webhook", url=url, events=EVERYTHING)
    assert list(refused.value.errors) == ["url"] and "private address" in refused.value.errors["url"]
    assert not Channel.objects.exists()


def test_a_name_that_resolves_to_a_private_address_is_refused_as_it_is_sent(people, make_gate, deliver, monkeypatch):
    with receiving() as inside:
        port = int(inside.url.rpartition(":")[2])
        real = socket.getaddrinfo

        def looked_up(host, *args, **options):
            return real("127.0.0.1", *args, **options) if host == "hooks.example.com" else real(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        channels.create(
            by=people.carol, name="sly", kind="webhook", url=f"http://hooks.example.com:{port}/x", events=EVERYTHING
        )
        make_gate()
        deliver()
        assert inside.got == []
    tried = Delivery.objects.get(channel__name="sly").log.get()
    assert "127.0.0.1 is a private address" in tried.error


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111"])
def test_public_addresses_pass_the_guard(address):
    outbound.check(address)


def test_a_redirect_of_another_library_into_the_network_is_refused_too(receiver):
    from approvals.notifying.sending import NotTaken

    receiver.always = (307, {"Location": receiver.url.replace("127.0.0.1", "127.0.0.2") + "/inside"})
    delivery = Delivery(occasion=Occasion.FAILED, body={"run": {"id": "x" * 36, "workflow": "w", "step": "s", "started_by": "",
                                                                 "url": "http://x"}})  # fmt: skip
    with pytest.raises(NotTaken):
        apprising.send(delivery, f"json://127.0.0.1:{receiver.url.rpartition(':')[2]}/x?redirect=yes")
    assert [path for path, _, _ in receiver.got] == ["/x"]


def test_outside_of_a_message_everything_can_be_connected_to(receiver):
    with pytest.raises(outbound.Forbidden), outbound.guarded():
        socket.create_connection(("127.0.0.2", 9), timeout=1)
    with socket.create_connection(("127.0.0.1", int(receiver.url.rpartition(":")[2])), timeout=1):
        pass
    with outbound.guarded(), socket.socket(socket.AF_UNIX) as unix, pytest.raises(outbound.Forbidden):
        unix.connect("/tmp/redis.sock")


def test_datagrams_are_checked_too():
    with outbound.guarded(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for send in (lambda: udp.sendto(b"x", ("127.0.0.1", 9)), lambda: udp.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))):
            with pytest.raises(outbound.Forbidden):
                send()


def test_a_proxy_of_the_environment_is_not_used(receiver, people, make_gate, deliver, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, receiver.url)
    usual = {"by": people.carol, "events": ["gate.opened"]}
    channels.create(name="hook", kind="webhook", url="http://inside.invalid/latest", **usual)
    channels.create(name="room", kind="apprise", url="json://inside.invalid/x", **usual)
    make_gate()
    deliver()
    assert receiver.got == []


def test_a_receiver_that_never_ends_its_answer_is_given_up(hook, receiver, make_gate, deliver, monkeypatch, people):
    import threading

    from approvals.notifying import sending

    monkeypatch.setattr(sending, "AT_MOST", 0.2)
    began = threading.Event()

    def slow(handler):
        began.set()
        threading.Event().wait(1)

    monkeypatch.setattr(receiver.server.RequestHandlerClass, "send_response", lambda *_: slow(None))
    make_gate()
    deliver()
    assert began.is_set() and "no whole answer" in Delivery.objects.get().log.get().error


# -- setting them up


@pytest.mark.parametrize(("given", "field"), [
    ({"name": ""}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"kind": "pigeon"}, "kind"),
    ({"events": []}, "events"),
    ({"events": ["gate.flew"]}, "events"),
    ({"url": "ftp://example.com"}, "url"),
    ({"url": "https://"}, "url"),
    ({"url": "https://example.com:port/"}, "url"),
    ({"kind": "slack", "url": "https://hooks.slack.com/services/T/B/x"}, "secret"),
    ({"kind": "apprise", "url": "https://nowhere"}, "url"),
    ({"kind": "apprise", "url": "syslog://"}, "url"),
    ({"kind": "apprise", "url": "dbus://"}, "url"),
    ({"kind": "apprise", "url": "rsyslog://127.0.0.1"}, "url"),
    ({"url": "https://example.com/a b"}, "url"),
    ({"events": ["test"]}, "events"),
])  # fmt: skip
def test_a_channel_that_cannot_be_names_its_field(people, given, field):
    usual = {"name": "new", "kind": "webhook", "url": "https://example.com/hooks", "events": EVERYTHING}
    if given.get("kind") == "apprise" and given["url"] == "https://nowhere":
        given = {**given, "url": "nothing-known://x"}
    with pytest.raises(channels.ChannelInvalid) as refused:
        channels.create(by=people.carol, **{**usual, **given})
    assert list(refused.value.errors) == [field]
    assert not Channel.objects.exists() and not AuditEntry.objects.exists()


def test_only_admins_set_channels_up_and_that_is_an_act(people):
    usual = {"name": "new", "kind": "webhook", "url": "https://example.com/hooks?token=s3cret", "events": EVERYTHING}
    with pytest.raises(NotPermitted):
        channels.create(by=people.alice, **usual)
    channel = channels.create(by=people.carol, **usual)
    with pytest.raises(channels.ChannelInvalid, match="already"):
        channels.create(by=people.carol, **usual)
    channels.change(channel.pk, by=people.carol, events=["run.failed"], workflows=["t-line"], only_named=False)
    channels.delete(channel.pk, by=people.carol)
    acts = AuditEntry.objects.filter(act=Act.CHANNEL_CHANGED)
    assert [entry.subject for entry in acts] == ["new"] * 3
    assert "s3cret" not in "".join(entry.detail for entry in acts)


def test_secrets_are_not_in_the_database_as_they_are(people):
    channel = channels.create(
        by=people.carol, name="c", kind="webhook", url="https://example.com/h?token=s3cret", events=EVERYTHING
    )
    secret = channels.opened(channel)["secrets"][0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(c)::text FROM approvals_channel c")
        stored = cursor.fetchone()[0]
    assert "s3cret" not in stored and secret not in stored and secret[6:] not in stored


def test_the_master_key_is_rotated_for_channels_too(people, settings):
    from django.core.management import call_command

    from checkpoints import sealing
    from holdfast.settings import _new_master_key

    channel = channels.create(by=people.carol, name="c", kind="webhook", url="https://example.com/h", events=EVERYTHING)
    before = channels.opened(channel)
    settings.HOLDFAST_MASTER_KEYS = [_new_master_key(), *settings.HOLDFAST_MASTER_KEYS]
    sealing.master.cache_clear()
    try:
        call_command("rotate_master_key")
        settings.HOLDFAST_MASTER_KEYS = settings.HOLDFAST_MASTER_KEYS[:1]
        sealing.master.cache_clear()
        channel.refresh_from_db()
        assert channels.opened(channel) == before
    finally:
        sealing.master.cache_clear()


# -- Apprise


def test_apprise_carries_the_message_and_its_story_when_it_fails(people, receiver, make_gate, deliver):
    port = receiver.url.rpartition(":")[2]
    channels.create(by=people.carol, name="room", kind="apprise", url=f"json://127.0.0.1:{port}/room", events=["gate.opened"])
    receiver.answers = [(500, {})]
    gate = make_gate()
    type(gate).objects.filter(pk=gate.pk).update(title="@everyone <!channel> pay")
    deliver()
    delivery = Delivery.objects.get(channel__name="room")
    assert "500" in delivery.log.get().error
    offset_for_tests("6 seconds")
    deliver()
    said = json.loads(receiver.got[-1][2])
    assert "@everyone" not in said["title"] and "<!channel>" not in said["title"] and "/gates/" in said["message"]
    assert Delivery.objects.get(channel__name="room").state == DeliveryState.SENT
