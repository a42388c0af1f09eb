"""The pages on which people say how they are reached, and admins set channels up."""

from ipaddress import ip_network

import pytest
from django.core import mail

from approvals.models import Channel, Delivery, Preference
from approvals.services import channels
from tests.receiver import receiving


@pytest.fixture
def carol(client, people):
    client.force_login(people.carol)
    return client


NEW = {"name": "books", "kind": "webhook", "url": "https://example.com/hooks", "events": ["gate.opened"]}
OWN = {"email": "digest", "events": ["gate.opened"], "digest_at": "17:30", "quiet_from": "22:00", "quiet_to": "07:00",
       "zone": "Europe/Berlin", "workflow-0": "off"}  # fmt: skip


def test_a_person_sets_how_they_are_reached(client, people):
    client.force_login(people.bob)
    assert client.post("/settings/", OWN).status_code == 302
    found = Preference.objects.get(user=people.bob)
    assert (found.email, str(found.digest_at), found.zone, found.browser) == ("digest", "17:30:00", "Europe/Berlin", False)
    assert list(found.by_workflow.values()) == ["off"]
    page = client.get("/settings/").content.decode()
    assert 'value="17:30"' in page and 'value="Europe/Berlin"' in page


@pytest.mark.parametrize(("given", "says"), [
    ({"zone": "Mars"}, "a time zone such as Europe/Berlin"),
    ({"quiet_to": ""}, "both times of the quiet hours"),
    ({"digest_at": "25:00"}, "valid time"),
    ({"events": ["gate.flew"]}, "gate.flew"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_its_field_and_what_was_typed_stays(client, people, given, says):
    client.force_login(people.bob)
    refused = client.post("/settings/", {**OWN, **given})
    assert (
        refused.status_code == 422
        and says in refused.content.decode()
        and (given.get("digest_at") or "17:30") in refused.content.decode()
    )
    assert not Preference.objects.exists()


def test_a_person_sends_themselves_a_test(client, people):
    client.force_login(people.bob)
    page = client.post("/settings/test/", follow=True).content.decode()
    assert mail.outbox[0].subject == "Test from Holdfast"
    assert "The test was taken" in page and mail.outbox[0].to == ["bob@example.com"] and not Delivery.objects.exists()


def test_a_test_that_fails_tells_the_whole_story(client, people, settings):
    settings.HOLDFAST_SENDS_MAIL = False
    client.force_login(people.bob)
    page = client.post("/settings/test/", follow=True).content.decode()
    assert "The test did not arrive" in page and "HOLDFAST_SMTP_URL" in page and "smtp+tls://" in page
    people.bob.email = ""
    people.bob.save()
    assert "no e-mail address" in client.post("/settings/test/", follow=True).content.decode()


def test_settings_need_a_person(client):
    for path in ("/settings/", "/settings/channels/"):
        assert client.get(path).status_code == 302


@pytest.mark.parametrize("name", ["alice", "bob", "dave", "mallory"])
def test_channels_are_for_admins(client, people, name):
    channel = channels.create(by=people.carol, **NEW)
    client.force_login(people[name])
    for path in ("/settings/channels/", f"/settings/channels/{channel.pk}/", f"/settings/channels/{channel.pk}/test/"):
        assert client.get(path).status_code == 403 and client.post(path, NEW).status_code == 403
    assert "Channels" not in client.get("/settings/").content.decode().split("</header>")[1].split("<form")[0]


def test_an_admin_adds_a_webhook_and_sees_its_secret_once(carol):
    made = carol.post("/settings/channels/", NEW, follow=True)
    channel = Channel.objects.get()
    secret = channels.opened(channel)["secrets"][0]
    assert made.redirect_chain and secret in made.content.decode()
    page = carol.get(f"/settings/channels/{channel.pk}/").content.decode()
    assert secret not in page and "https://example.com/…" in page
    rotated = carol.post(f"/settings/channels/{channel.pk}/rotate/", follow=True).content.decode()
    channel.refresh_from_db()
    assert channels.opened(channel)["secrets"][0] in rotated and "signs, too" in rotated
    assert carol.post(f"/settings/channels/{channel.pk}/retire/").status_code == 302
    channel.refresh_from_db()
    assert len(channels.opened(channel)["secrets"]) == 1


def test_a_private_address_is_refused_at_its_field(carol):
    refused = carol.post("/settings/channels/", {**NEW, "url": "http://169.254.169.254/"})
    assert refused.status_code == 422 and "private address" in refused.content.decode() and not Channel.objects.exists()


def test_an_admin_changes_switches_and_deletes(carol):
    carol.post("/settings/channels/", NEW)
    pk = Channel.objects.get().pk
    assert carol.post(f"/settings/channels/{pk}/", {"events": ["run.failed"], "only_named": "on"}).status_code == 302
    channel = Channel.objects.get()
    assert channel.events == ["run.failed"] and channel.only_named and channel.shown == "https://example.com/…"
    assert carol.post(f"/settings/channels/{pk}/", {"events": []}).status_code == 422
    carol.post(f"/settings/channels/{pk}/off/")
    assert not Channel.objects.get().is_enabled
    carol.post(f"/settings/channels/{pk}/on/")
    assert Channel.objects.get().is_enabled
    assert carol.get(f"/settings/channels/{pk}/delete/").status_code == 302
    assert carol.post(f"/settings/channels/{pk}/explode/").status_code == 404
    carol.post(f"/settings/channels/{pk}/delete/")
    assert not Channel.objects.exists()


def test_a_test_of_a_channel_is_in_its_log_with_the_story(carol, people, settings):
    settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
    with receiving() as receiver:
        channel = channels.create(by=people.carol, **{**NEW, "url": f"{receiver.url}/hooks"})
        assert "The test was taken" in carol.post(f"/settings/channels/{channel.pk}/test/", follow=True).content.decode()
        assert receiver.types == ["test"]
        receiver.answers = [(404, {})]
        page = carol.post(f"/settings/channels/{channel.pk}/test/", follow=True).content.decode()
        assert "The test did not arrive" in page and "404" in page and "is it written right" in page
    page = carol.post(f"/settings/channels/{channel.pk}/test/", follow=True).content.decode()
    assert "Connection refused" in page and "Nothing listens there" in page
    assert [one.state for one in Delivery.objects.order_by("created_at")] == ["sent", "failed", "failed"]
    page = carol.get(f"/settings/channels/{channel.pk}/").content.decode()
    assert page.count("</strong> sent by hand</span>") == 3 and "Deliver again" not in page


def test_a_delivery_is_sent_again_from_the_log(carol, people, make_gate, deliver, settings):
    settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
    with receiving() as receiver:
        channel = channels.create(by=people.carol, **{**NEW, "url": f"{receiver.url}/hooks"})
        make_gate()
        deliver()
        delivery = Delivery.objects.get(channel=channel)
        assert "Deliver again" in carol.get(f"/settings/channels/{channel.pk}/").content.decode()
        assert carol.post(f"/settings/deliveries/{delivery.pk}/again/").status_code == 302
        deliver()
        assert receiver.ids == [str(delivery.pk)] * 2
    mails = Delivery.objects.filter(user__isnull=False).first()
    assert carol.post(f"/settings/deliveries/{mails.pk}/again/").status_code == 404


def test_names_of_channels_are_escaped(carol, people):
    channel = channels.create(by=people.carol, **{**NEW, "name": "<script>x</script>"})
    for path in ("/settings/channels/", f"/settings/channels/{channel.pk}/"):
        assert "<script>x" not in carol.get(path).content.decode()


def test_their_pages_ask_the_database_no_more_with_more_deliveries(
    carol, people, make_gate, deliver, django_assert_max_num_queries
):
    channel = channels.create(by=people.carol, **NEW)
    from approvals.notifying import handing_on

    for _ in range(4):
        make_gate()
    handing_on.hand_on()
    with django_assert_max_num_queries(13):
        carol.get(f"/settings/channels/{channel.pk}/")
