"""A link shows a gate to one person, and decides only by the POST of the page that asks once more."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client

from approvals.models import Decision, Gate, Link
from approvals.services import clock, links
from engine.services import controls
from runs.clock import database_now
from runs.models import Act, AuditEntry
from workflows import Policy


@pytest.fixture
def sent(make_gate, deliver):
    """A gate, and the address of bob's link to it as his e-mail has it."""
    gate = make_gate()
    deliver()
    return gate, address_in(mail.outbox[0])


def address_in(message):
    found = re.search(r"Open: http://[^/]+(/links/\S+)", message.body)
    assert found
    return found[1]


def bearer_gate(ask, people, deliver, **more):
    gate = ask(Policy(approvers=["user:bob"], links="bearer", **more))
    deliver()
    return gate, address_in(mail.outbox[-1])


def fields(response):
    page = response.content.decode()
    return dict(re.findall(r'name="(version|proposal_hash|verdict|shown_at)" value="([^"]*)"', page))


def post(client, address, **more):
    page = client.get(f"{address}?verdict={more.get('verdict', 'approve')}")
    return client.post(f"{address}decisions/", {**fields(page), **more})


def test_two_taps_open_the_confirmation_and_confirm_it(sent, people, client):
    _, address = sent
    client.force_login(people.bob)
    button = re.search(rf"http://[^/]+({re.escape(address)}\?verdict=approve)", mail.outbox[0].alternatives[0][0])
    assert button
    asked = client.get(button[1])
    page = asked.content.decode()
    assert "Approve this?" in page and "pay” runs next" in page and "400" in page
    assert not Decision.objects.exists()
    done = client.post(f"{address}decisions/", fields(asked))
    assert done.status_code == 302 and done.url.startswith(address)
    decision = Decision.objects.get()
    assert (decision.by_name, decision.channel, decision.verdict) == ("bob", "link", "approve")
    assert decision.looked_for_s is not None and decision.looked_for_s < 60
    told = client.get(done.url).content.decode()
    assert "You approved" in told and "Undo" in told
    assert AuditEntry.objects.get(act=Act.DECIDED).channel == "link"


def test_it_can_be_undone_for_a_moment(sent, people, client):
    gate, address = sent
    client.force_login(people.bob)
    done = client.get(post(client, address, verdict="approve").url).content.decode()
    made = re.search(r'name="made" value="([^"]+)"', done)
    assert made
    client.post(f"{address}undo/", {"made": made[1]})
    gate.refresh_from_db()
    assert AuditEntry.objects.get(act=Act.TOOK_BACK).channel == "link"
    assert gate.is_open and "What is asked" in client.get(address).content.decode()


@pytest.mark.parametrize(("method", "times"), [("get", 20), ("head", 20), ("options", 1), ("put", 1), ("delete", 1)])
def test_a_scanner_that_opens_it_twenty_times_decides_nothing(sent, people, method, times):
    gate, address = sent
    signed_in = Client(headers={"Purpose": "prefetch", "User-Agent": "Slackbot-LinkExpanding 1.0"})
    signed_in.force_login(people.bob)
    for client in (Client(), signed_in):
        for _ in range(times):
            assert getattr(client, method)(f"{address}?verdict=approve&version=1&comment=yes").status_code < 500
        for path in (address, f"{address}decisions/?verdict=approve", f"{address}undo/"):
            assert getattr(client, method)(path).status_code < 500
    gate.refresh_from_db()
    assert gate.is_open and not Decision.objects.exists()


def test_who_is_not_signed_in_is_sent_to_do_that_and_comes_back(sent, people, client):
    _, address = sent
    away = client.get(f"{address}?verdict=reject")
    assert away.status_code == 302 and away.url.startswith("/sign-in/?next=/links/") and "verdict%3Dreject" in away.url
    assert client.post(f"{address}decisions/", {"verdict": "approve"}).status_code == 302
    assert not Decision.objects.exists()


def test_a_forwarded_link_does_not_decide_as_its_addressee(sent, people, client):
    gate, address = sent
    client.force_login(people.erin)  # who may decide, by herself
    page = client.get(f"{address}?verdict=approve")
    assert page.status_code == 403 and "sent to bob" in page.content.decode() and str(gate.pk) in page.content.decode()
    assert client.post(f"{address}decisions/", {"verdict": "approve", "version": 1}).status_code == 403
    assert not Decision.objects.exists()


def test_an_altered_link_opens_nothing(sent, people, client):
    _, address = sent
    client.force_login(people.bob)
    for wrong in (address[:-3] + "xx/", address.replace(":", ";"), "/links/x/", "/links/00:11/", "/links/%00/"):
        assert client.get(wrong).status_code == 404
        assert client.post(f"{wrong}decisions/", {"verdict": "approve"}).status_code == 404


def test_a_link_of_a_gate_that_somebody_closed_says_who_how_and_when(sent, people, client, answer):
    gate, address = sent
    answer(gate, "erin", "reject", comment="never")
    for one in (None, people.bob, people.mallory):
        visitor = Client()
        if one:
            visitor.force_login(one)
        page = visitor.get(f"{address}?verdict=approve").content.decode()
        assert "erin rejected" in page.lower() and "UTC" in page
        assert "never" not in page and "400" not in page  # what was asked is for whoever may see it
        late = visitor.post(f"{address}decisions/", {"verdict": "approve", "comment": "my own words"})
        assert late.status_code == 409 and "came too late" in late.content.decode() and "my own words" in late.content.decode()
        for done in ("1", "2", str(Decision.objects.get().pk), links.MADE.sign("999")):
            assert "400" not in visitor.get(f"{address}?done={done}").content.decode()
    assert Decision.objects.count() == 1


def test_after_the_timeout_it_explains(sent, client, at):
    gate, address = sent
    at("61 minutes")
    assert clock.expire(gate.pk)
    page = client.get(address).content.decode()
    assert "Nobody decided in time" in page and "The policy decided" in page and "rejected" in page


def test_after_the_run_was_cancelled_it_explains(sent, people, client):
    gate, address = sent
    controls.cancel(gate.run_id, by=people.alice)
    assert "Nobody is asked any more" in client.get(address).content.decode()


def test_a_link_expires_and_the_next_message_makes_it_good_again(sent, people, client, at):
    gate, address = sent
    Gate.objects.filter(pk=gate.pk).update(due_at=None)
    client.force_login(people.bob)
    at("8 days")
    expired = client.get(address)
    assert expired.status_code == 410 and "expired" in expired.content.decode()
    assert client.post(f"{address}decisions/", {"verdict": "approve"}).status_code == 410
    gate = Gate.objects.get(pk=gate.pk)
    assert links.issue(gate, people.bob).pk == Link.objects.get(user=people.bob).pk
    assert client.get(address).status_code == 200


def test_a_link_can_be_revoked_by_its_owner_alone_or_an_admin(sent, people, client):
    gate, address = sent
    link = Link.objects.get(user=people.bob)
    client.force_login(people.erin)
    assert client.post(f"/settings/links/{link.pk}/revoke/").status_code == 404
    with pytest.raises(Exception, match="the role admin"):
        links.revoke(link, by=people.erin)
    client.force_login(people.bob)
    assert gate.title in client.get("/settings/").content.decode()
    client.post(f"/settings/links/{link.pk}/revoke/")
    assert client.get(address).status_code == 410
    assert AuditEntry.objects.get(act=Act.LINK_REVOKED).actor == "bob"
    assert links.issue(Gate.objects.get(pk=gate.pk), people.bob) is None  # revoked for this gate


def test_a_person_who_may_sign_in_no_more_has_no_link(sent, people, client):
    _, address = sent
    people.bob.is_active = False
    people.bob.save()
    assert client.get(address).status_code == 410


def test_who_may_not_see_the_gate_any_more_does_not_by_link(sent, people, client):
    gate, address = sent
    people.bob.groups.clear()
    client.force_login(people.bob)
    page = client.get(f"{address}?verdict=approve")
    assert page.status_code == 403 and "400" not in page.content.decode()
    seen = {"verdict": "approve", "version": 1, "proposal_hash": gate.proposal_hash}
    assert client.post(f"{address}decisions/", seen).status_code == 403 and not Decision.objects.exists()


def test_who_has_lost_the_right_cannot_use_it_by_link(sent, people, client):
    gate, address = sent
    people.bob.groups.remove(people.bob.groups.get(name="finance"))
    client.force_login(people.bob)
    page = client.get(f"{address}?verdict=approve").content.decode()
    assert "you are not one of them" in page and "<button" not in page.split("<main")[1]
    assert (
        client.post(
            f"{address}decisions/", {"verdict": "approve", "version": 1, "proposal_hash": gate.proposal_hash}
        ).status_code
        == 403
    )
    assert not Decision.objects.exists()


def test_what_has_changed_since_it_was_shown_is_not_decided(sent, people, client, answer):
    gate, address = sent
    client.force_login(people.bob)
    seen = fields(client.get(f"{address}?verdict=approve"))
    Gate.objects.filter(pk=gate.pk).update(version=2)
    refused = client.post(f"{address}decisions/", seen)
    assert refused.status_code == 409 and "changed since" in refused.content.decode()
    assert not Decision.objects.exists()


def test_words_that_the_policy_wants_are_asked_for(ask, people, deliver, client):
    ask(Policy(approvers=["user:bob"], comment=["reject"]))
    deliver()
    address = address_in(mail.outbox[-1])
    client.force_login(people.bob)
    refused = post(client, address, verdict="reject")
    assert refused.status_code == 422 and "comment" in refused.content.decode()
    assert post(client, address, verdict="reject", comment="too dear").status_code == 302
    assert Decision.objects.get().comment == "too dear"


def test_high_risk_wants_the_password_here_too(ask, people, deliver, client):
    people.bob.set_password("a good password")
    people.bob.save()
    ask(Policy(approvers=["user:bob"], risk="high", links="bearer"))  # a bearer cannot prove who they are
    deliver()
    address = address_in(mail.outbox[-1])
    assert client.get(address).status_code == 302
    client.force_login(people.bob)
    assert 'type="password"' in client.get(f"{address}?verdict=approve").content.decode()
    assert post(client, address, verdict="approve").status_code == 422
    assert post(client, address, verdict="approve", password="wrong").status_code == 422
    assert post(client, address, verdict="approve", password="a good password").status_code == 302


# -- where the policy says that having the link is enough


def test_a_bearer_decides_as_the_addressee_with_their_own_address_in_the_audit(ask, people, deliver):
    _, address = bearer_gate(ask, people, deliver)
    client = Client(REMOTE_ADDR="10.5.5.5")
    page = client.get(f"{address}?verdict=approve")
    assert page.status_code == 200 and "You decide here as" in page.content.decode()
    assert post(client, address, verdict="approve").status_code == 302
    entry = AuditEntry.objects.get(act=Act.DECIDED)
    assert (entry.actor, entry.channel, entry.address) == ("bob", "bearer", "10.5.5.5")


def test_a_bearer_sees_and_takes_back_only_what_they_did_themselves(make_run, worker, people, deliver, answer, ask):
    gate, address = bearer_gate(ask, people, deliver, veto=2)
    vote = answer(gate, "bob", "reject", comment="by api")
    stranger = Client()
    refused = stranger.post(f"{address}undo/", {"decision": vote.pk, "made": str(vote.pk)})
    assert (
        refused.status_code == 302 and "sign-in" in refused["Location"]
    )  # bob's right is used up: nothing to be had by the link
    assert stranger.post(f"{address}undo/", {"made": links.made_by(vote)}).status_code in (302, 409)
    vote.refresh_from_db()
    assert vote.voided_at is None


def test_a_bearer_whose_addressee_has_lost_the_right_sees_nothing(ask, people, deliver):
    gate, address = bearer_gate(ask, people, deliver)
    Gate.objects.filter(pk=gate.pk).update(approver_users=["erin"])
    assert Client().get(address).status_code == 302


def test_a_bearers_get_decides_nothing_either(ask, people, deliver):
    gate, address = bearer_gate(ask, people, deliver)
    for _ in range(3):
        Client().get(f"{address}?verdict=approve")
        Client().get(f"{address}decisions/?verdict=approve&version=1&proposal_hash={gate.proposal_hash}")
    assert not Decision.objects.exists()


def test_a_bearers_post_needs_the_page_that_asks_once_more(ask, people, deliver):
    gate, address = bearer_gate(ask, people, deliver)
    client = Client(enforce_csrf_checks=True)
    seen = {"verdict": "approve", "version": gate.version, "proposal_hash": gate.proposal_hash}
    assert client.post(f"{address}decisions/", seen).status_code == 403
    page = client.get(f"{address}?verdict=approve")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())
    assert token and client.post(f"{address}decisions/", {**seen, "csrfmiddlewaretoken": token[1]}).status_code == 302


def test_answers_by_one_link_are_limited(ask, people, deliver):
    _, address = bearer_gate(ask, people, deliver)
    codes = [Client().post(f"{address}decisions/", {"verdict": "approve", "version": 99}).status_code for _ in range(12)]
    assert codes[:10] == [409] * 10 and codes[10:] == [429] * 2
    assert Client(REMOTE_ADDR="10.1.1.1").post(f"{address}decisions/", {"verdict": "approve", "version": 99}).status_code == 409


def test_the_pages_of_a_link_are_not_kept_and_tell_no_other_site(sent, people, client):
    _, address = sent
    client.force_login(people.bob)
    page = client.get(address)
    assert page["Cache-Control"] == "no-store" and page["Referrer-Policy"] == "same-origin"


def test_links_live_as_long_as_they_are_said_to(sent, people):
    link = Link.objects.get(user=people.bob)
    assert timedelta(days=6, hours=23) < link.expires_at - database_now() <= timedelta(days=7)
