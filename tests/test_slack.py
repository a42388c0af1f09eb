"""Slack's buttons: signed, linked to a person, and the same door as every other. The shapes are those that Slack sends."""

import hashlib
import hmac
import json
import time
from ipaddress import ip_network
from urllib.parse import urlencode

import pytest
from django.test import Client

from approvals import tasks
from approvals.models import ChatAccount, Decision, Delivery, DeliveryState
from approvals.services import channels, chat
from runs import bell
from runs.models import Act, AuditEntry
from tests.receiver import receiving
from workflows import Policy

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TEAM, ACCOUNT = "T9TK3CUKW", "UA8RXUSPL"
ENDLESS = '{"gate": "01a1ff5c-56b3-7209-b9a3-e650d746f818", "version": Infinity, "hash": ""}'


@pytest.fixture
def slack(people, settings):
    """A place that stands for Slack, and a channel that posts there."""
    settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
    for user in people.values():
        user.email = ""
        user.save(update_fields=["email"])
    with receiving() as receiver:
        receiver.channel = channels.create(
            by=people.carol, name="finance-slack", kind="slack", url=f"{receiver.url}/services/T/B/x", secret=SECRET,
            events=["gate.opened", "gate.decided"],
        )  # fmt: skip
        yield receiver


@pytest.fixture
def posted(slack, make_gate, deliver):
    """A gate, and the message that was posted of it."""
    gate = make_gate()
    deliver()
    return gate, json.loads(slack.got[-1][2])


@pytest.fixture(autouse=True)
def answers_at_once(monkeypatch):
    """What the control worker would send."""
    monkeypatch.setattr(bell, "send", lambda task, queue, *args: tasks.answer(*args) if task == bell.ANSWER else True)


def buttons(message):
    return {one["action_id"]: one for block in message["blocks"] if block["type"] == "actions" for one in block["elements"]}


def pressed(slack, button, *, account=ACCOUNT, secret=SECRET, at=None, **more):
    """A recorded ``block_actions`` request, with this button in it."""
    payload = {
        "type": "block_actions",
        "team": {"id": TEAM, "domain": "example"},
        "user": {"id": account, "username": "bob.s", "name": "bob.s", "team_id": TEAM},
        "api_app_id": "A02",
        "token": "Shh_its_a_seekrit",
        "container": {"type": "message", "message_ts": "1548261231.000200", "channel_id": "CBR2V3XEX", "is_ephemeral": False},
        "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        "channel": {"id": "CBR2V3XEX", "name": "finance"},
        "response_url": f"{slack.url}/actions/T/1/answer",
        "actions": [{**button, "block_id": "x", "action_ts": "1548426417.840180", "type": "button"}],
        **more,
    }
    body = urlencode({"payload": json.dumps(payload)})
    stamp = str(int(at or time.time()))
    signature = "v0=" + hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return Client().post(
        f"/chat/slack/{slack.channel.pk}/", body, content_type="application/x-www-form-urlencoded",
        headers={"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature},
    )  # fmt: skip


def answered(slack):
    """What Slack was told after the last press."""
    assert slack.got[-1][0] == "/actions/T/1/answer"
    return json.loads(slack.got[-1][2])


def linked(people, name="bob"):
    return ChatAccount.objects.create(user=people[name], app=chat.app_of(SECRET), team=TEAM, account=ACCOUNT, name="bob.s")


def test_the_message_says_what_is_asked_and_its_buttons_ask_once_more(posted, slack):
    gate, message = posted
    found = buttons(message)
    assert set(found) == {"holdfast.decide.approve", "holdfast.decide.reject", "holdfast.open"}
    assert "pay” runs next" in found["holdfast.decide.approve"]["confirm"]["text"]["text"]
    assert "amount: 400" in json.dumps(message["blocks"], ensure_ascii=False)
    assert found["holdfast.open"]["url"].endswith(f"/gates/{gate.pk}/")
    assert json.loads(found["holdfast.decide.approve"]["value"])["hash"] == gate.proposal_hash
    assert Delivery.objects.get().state == DeliveryState.SENT


def test_a_linked_person_decides_and_the_message_loses_its_buttons(posted, slack, people):
    _, message = posted
    linked(people)
    assert pressed(slack, buttons(message)["holdfast.decide.approve"]).status_code == 200
    decision = Decision.objects.get()
    assert (decision.by_name, decision.channel, decision.verdict) == ("bob", "slack", "approve")
    assert AuditEntry.objects.get(act=Act.DECIDED).channel == "slack"
    said = answered(slack)
    assert said["replace_original"] is True and "bob approved" in said["text"]
    assert set(buttons(said)) == {"holdfast.open"} and "amount: 400" in said["blocks"][0]["text"]["text"]


def test_a_chat_user_without_a_linked_account_can_only_open_the_page(posted, slack, people, client):
    gate, message = posted
    assert pressed(slack, buttons(message)["holdfast.decide.approve"]).status_code == 200
    assert not Decision.objects.exists()
    said = answered(slack)
    assert said["response_type"] == "ephemeral" and said["replace_original"] is False
    assert f"/gates/{gate.pk}/" in said["text"] and "/settings/chat/" in said["text"]
    offer = "/" + said["text"].split("first: http://")[1].split("/", 1)[1]
    assert client.get(offer).status_code == 302  # to sign in
    client.force_login(people.bob)
    page = client.get(offer).content.decode()
    assert "Is this you?" in page and ACCOUNT in page and TEAM in page
    people.bob.set_password("a good password")
    people.bob.save()
    client.force_login(people.bob)
    for wrong in ({}, {"password": "wrong"}):
        assert client.post(offer, wrong).status_code == 422 and not ChatAccount.objects.exists()
    client.post(offer, {"password": "a good password"})
    assert chat.person_of(chat.app_of(SECRET), TEAM, ACCOUNT) == people.bob
    assert AuditEntry.objects.get(act=Act.CHAT_LINKED).actor == "bob"
    pressed(slack, buttons(message)["holdfast.decide.reject"])
    assert Decision.objects.get().verdict == "reject"


def test_an_account_that_is_linked_is_nobody_elses(people):
    offer = chat.offer(chat.app_of(SECRET), TEAM, ACCOUNT, "bob.s")
    chat.link(offer, by=people.bob)
    with pytest.raises(chat.OfferInvalid, match="somebody else"):
        chat.link(offer, by=people.erin)
    assert chat.person_of(chat.app_of(SECRET), TEAM, ACCOUNT) == people.bob


def test_the_secret_of_one_app_does_not_speak_for_the_accounts_of_another(posted, slack, people):
    _, message = posted
    linked(people)
    other = channels.create(
        by=people.carol, name="other", kind="slack", url=f"{slack.url}/o", secret="another secret", events=["run.failed"]
    )
    slack.channel = other
    pressed(slack, buttons(message)["holdfast.decide.approve"], secret="another secret")
    assert not Decision.objects.exists() and "does not know who you are" in answered(slack)["text"]


def test_a_channel_that_is_switched_off_decides_nothing(posted, slack, people):
    _, message = posted
    linked(people)
    channels.switch(slack.channel.pk, by=people.carol, on=False)
    assert pressed(slack, buttons(message)["holdfast.decide.approve"]).status_code == 404
    assert not Decision.objects.exists()


@pytest.mark.parametrize(("headers", "body"), [
    ({"X-Slack-Request-Timestamp": "abc", "X-Slack-Signature": "v0=x"}, b"payload=x"),
    ({"X-Slack-Request-Timestamp": "1", "X-Slack-Signature": "v0=\u00e9"}, b"payload=x"),
    ({"X-Slack-Request-Timestamp": str(int(time.time())), "X-Slack-Signature": "v0=x"}, b"\xff\xfe"),
    ({"X-Slack-Request-Timestamp": "1" * 400, "X-Slack-Signature": "v0=x"}, b""),
])  # fmt: skip
def test_odd_requests_are_refused(slack, headers, body):
    answer = Client().post(
        f"/chat/slack/{slack.channel.pk}/", body, content_type="application/x-www-form-urlencoded", headers=headers
    )
    assert answer.status_code == 401


def test_an_offer_is_good_for_a_quarter_of_an_hour_and_only_unaltered(people, client, monkeypatch):
    client.force_login(people.bob)
    offer = chat.offer(chat.app_of(SECRET), TEAM, ACCOUNT, "bob.s")
    assert client.post(f"/settings/chat/{offer[:-2]}xx/").status_code == 410
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 901)
    assert client.post(f"/settings/chat/{offer}/").status_code == 410
    assert not ChatAccount.objects.exists()


@pytest.mark.parametrize(("more", "status"), [
    ({"secret": "another"}, 401),
    ({"ago": 400}, 401),
    ({"ago": -400}, 401),
])  # fmt: skip
def test_what_slack_has_not_signed_just_now_is_not_read(posted, slack, people, more, status):
    _, message = posted
    linked(people)
    before = len(slack.got)
    if "ago" in more:
        more = {"at": time.time() - more["ago"]}
    assert pressed(slack, buttons(message)["holdfast.decide.approve"], **more).status_code == status
    assert not Decision.objects.exists() and len(slack.got) == before


def test_a_request_without_a_signature_is_refused(posted, slack):
    assert Client().post(f"/chat/slack/{slack.channel.pk}/", {"payload": "{}"}).status_code == 401
    assert Client().get(f"/chat/slack/{slack.channel.pk}/").status_code == 405
    assert Client().post("/chat/slack/999/", {}).status_code == 404


def test_whoever_is_second_is_told_who_was_first(posted, slack, people, answer):
    gate, message = posted
    linked(people)
    answer(gate, "erin", "reject", comment="no")
    pressed(slack, buttons(message)["holdfast.decide.approve"])
    said = answered(slack)
    assert "erin rejected" in said["text"] and said["replace_original"] is True
    assert Decision.objects.count() == 1


def test_a_button_of_an_old_message_does_not_decide_what_has_changed_since(posted, slack, people, answer):
    gate, message = posted
    linked(people)
    type(gate).objects.filter(pk=gate.pk).update(version=2)
    pressed(slack, buttons(message)["holdfast.decide.approve"])
    assert "changed since" in answered(slack)["text"] and not Decision.objects.exists()


def test_who_may_not_decide_may_not_here_either(posted, slack, people):
    _, message = posted
    linked(people, "dave")
    pressed(slack, buttons(message)["holdfast.decide.approve"])
    assert "not one of them" in answered(slack)["text"]
    ChatAccount.objects.update(user=people.mallory)
    pressed(slack, buttons(message)["holdfast.decide.approve"])
    assert "no such gate" in answered(slack)["text"] and not Decision.objects.exists()


def test_a_verdict_that_needs_more_than_a_press_has_no_button(ask, slack, deliver):
    ask(Policy(approvers=["user:bob"], comment=["reject"]))
    deliver()
    assert set(buttons(json.loads(slack.got[-1][2]))) == {"holdfast.decide.approve", "holdfast.open"}
    ask(Policy(approvers=["user:bob"], risk="high"))
    deliver()
    assert set(buttons(json.loads(slack.got[-1][2]))) == {"holdfast.open"}


@pytest.mark.parametrize("button", [
    {"action_id": "holdfast.decide.approve", "value": "{}"},
    {"action_id": "holdfast.decide.approve", "value": "not json"},
    {"action_id": "holdfast.decide.edit", "value": None},
    {"action_id": "holdfast.decide.approve"},
    {"action_id": "holdfast.decide.approve", "value": ENDLESS},
])  # fmt: skip
def test_a_malformed_press_is_refused_and_nothing_happens(posted, slack, people, button):
    linked(people)
    assert pressed(slack, button).status_code == 400
    assert not Decision.objects.exists()


def test_a_verdict_that_the_gate_does_not_allow_is_refused(posted, slack, people):
    _, message = posted
    linked(people)
    for verdict in ("edit", "happened", "flew"):
        pressed(slack, {**buttons(message)["holdfast.decide.approve"], "action_id": f"holdfast.decide.{verdict}"})
        assert "Nothing was decided" in answered(slack)["text"]
    assert not Decision.objects.exists()


def test_what_a_workflow_wrote_calls_nobody_in_slack(ask, slack, deliver):
    gate = ask(Policy(approvers=["user:bob"]))
    type(gate).objects.filter(pk=gate.pk).update(title="<!channel> *pay* <https://evil.example|here>")
    deliver()
    said = slack.got[-1][2]
    assert "<!channel>" not in said and "<https://evil" not in said
    fresh = ask(Policy(approvers=["user:bob"]))
    forged = {**fresh.action, "args": {"amount": "400\nOpen: http://evil.example\u202e"}}
    type(fresh).objects.filter(pk=fresh.pk).update(action=forged)
    deliver()
    said = json.loads(slack.got[-1][2])["blocks"][1]["text"]
    assert "\nOpen" not in said["text"] and "\u202e" not in said["text"] and said["verbatim"] is True


def test_an_account_is_unlinked_by_its_owner(people, client):
    account = linked(people)
    client.force_login(people.erin)
    assert client.post(f"/settings/chat/{account.pk}/end/").status_code == 404
    client.force_login(people.bob)
    assert client.post(f"/settings/chat/{account.pk}/end/").status_code == 302
    assert (
        chat.person_of(chat.app_of(SECRET), TEAM, ACCOUNT) is None
        and AuditEntry.objects.get(act=Act.CHAT_UNLINKED).actor == "bob"
    )
