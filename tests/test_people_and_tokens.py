"""Accounts, groups, tokens and profiles, and the command palette: who may what."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from approvals.models import Preference
from console.models import Profile
from console.services import people as accounts
from holdfast import tokens
from holdfast.models import ApiToken
from runs.access import NotPermitted
from runs.models import Act, AuditEntry


@pytest.fixture
def carol(client, people):
    client.force_login(people.carol)
    return client


def acts():
    return list(AuditEntry.objects.order_by("id").values_list("act", "subject"))


def test_an_admin_adds_somebody_whose_password_is_shown_once(carol):
    given = {"username": "zoe", "email": "zoe@example.com", "groups": ["approver", "finance"]}
    page = carol.post("/settings/people/", given, follow=True).content.decode()
    password = page.split("<code>")[1].split("</code>")[0]
    zoe = User.objects.get(username="zoe")
    assert zoe.check_password(password) and sorted(group.name for group in zoe.groups.all()) == ["approver", "finance"]
    assert password not in carol.get("/settings/people/").content.decode()
    assert (Act.ADMINISTERED, "user zoe") in acts()


@pytest.mark.parametrize(("given", "says"), [
    ({"username": "ALICE"}, "ALICE is there already"), ({"username": "a b"}, "letters, digits and"),
    ({"username": "new", "email": "x"}, "an address such as"), ({"username": "new", "groups": ["nobody"]}, "nobody"),
])  # fmt: skip
def test_an_account_that_cannot_be_is_refused_at_its_field(carol, given, says):
    before = User.objects.count()
    refused = carol.post("/settings/people/", given)
    assert refused.status_code == 422 and says in refused.content.decode() and User.objects.count() == before


def test_groups_and_the_right_to_sign_in_are_changed(carol, people):
    carol.post(f"/settings/people/{people.bob.pk}/", {"email": "", "groups": ["viewer"]})
    bob = User.objects.get(pk=people.bob.pk)
    assert not bob.is_active and [group.name for group in bob.groups.all()] == ["viewer"]
    carol.post("/settings/groups/", {"name": "legal"})
    assert Group.objects.filter(name="legal").exists()
    assert "is there already" in carol.post("/settings/groups/", {"name": "legal"}, follow=True).content.decode()


def test_no_admin_locks_themselves_out(carol, people):
    refused = carol.post(f"/settings/people/{people.carol.pk}/", {"email": "", "groups": ["viewer"], "is_active": "on"})
    assert refused.status_code == 422 and "lock yourself out" in refused.content.decode()
    assert people.carol.groups.filter(name="admin").exists()


def test_another_password_signs_its_owner_out(carol, people):
    bob = Client()
    bob.force_login(people.bob)
    page = carol.post(f"/settings/people/{people.bob.pk}/password/", follow=True).content.decode()
    assert User.objects.get(pk=people.bob.pk).check_password(page.split("<code>")[1].split("</code>")[0])
    assert bob.get("/gates/").status_code == 302


@pytest.mark.parametrize("name", ["alice", "bob", "dave", "mallory"])
def test_only_admins_manage_people(client, people, name):
    client.force_login(people[name])
    for path in ("/settings/people/", f"/settings/people/{people.bob.pk}/"):
        assert client.get(path).status_code == 403 and client.post(path, {"username": "x"}).status_code == 403
    assert client.post(f"/settings/people/{people.bob.pk}/password/").status_code == 403
    assert client.post("/settings/groups/", {"name": "x"}).status_code == 403
    with pytest.raises(NotPermitted):
        accounts.add(by=people[name], username="x")


def test_a_token_is_made_used_and_revoked(client, people, make_run):
    client.force_login(people.alice)
    page = client.post("/settings/tokens/", {"name": "ci", "scope": "runs", "days": "30"}, follow=True).content.decode()
    secret = page.split("<code>hf_")[1].split("</code>")[0]
    token = ApiToken.objects.get()
    assert token.expires_at is not None and token.last_used_at is None
    program = Client(headers={"authorization": f"Bearer hf_{secret}"})
    assert program.get("/api/me").json()["username"] == "alice"
    token.refresh_from_db()
    assert token.last_used_at is not None
    client.force_login(people.bob)
    assert client.post(f"/settings/tokens/{token.pk}/delete/").status_code == 404  # another's
    client.force_login(people.alice)
    client.post(f"/settings/tokens/{token.pk}/delete/")
    assert program.get("/api/me").status_code == 401
    assert [act for act, _ in acts()][-2:] == [Act.TOKEN_MADE, Act.TOKEN_REVOKED]


@pytest.mark.parametrize(("scope", "may_run", "may_decide"), [
    ("read", False, False), ("runs", True, False), ("gates", False, True), ("all", True, True),
])  # fmt: skip
def test_a_tokens_scope_narrows_what_its_owner_may(people, make_gate, make_run, scope, may_run, may_decide):
    gate = make_gate()
    secret = ApiToken.issue(people.bob, scope=scope)
    people.bob.groups.add(Group.objects.get_or_create(name="operator")[0])
    program = Client(headers={"authorization": f"Bearer {secret}"})
    assert program.get("/api/gates").status_code == 200
    body = {"workflow": "t-line", "input": {}}
    started = program.post("/api/runs", body, content_type="application/json")
    assert started.status_code == (201 if may_run else 403)
    if not may_run:
        assert started.json()["type"] == "not-permitted" and "scope" in started.json()["detail"]
    held = program.post("/api/workflows/t-line/hold", {}, content_type="application/json").status_code
    assert (held in (200, 202)) == may_run
    decided = program.post(
        f"/api/gates/{gate.pk}/decisions",
        {"verdict": "approve", "version": gate.version, "proposal_hash": gate.proposal_hash},
        content_type="application/json",
    )
    assert decided.status_code == (201 if may_decide else 403)


@pytest.mark.parametrize(
    ("given", "field"), [({"days": 0}, "days"), ({"scope": "root"}, "scope"), ({"name": "x" * 101}, "name")]
)
def test_a_token_that_cannot_be_is_refused(people, given, field):
    with pytest.raises(tokens.TokenInvalid, match=field):
        tokens.make(people.alice, by=people.alice, **given)


def test_theme_and_times_are_ones_own(client, people):
    client.force_login(people.dave)
    client.post("/settings/profile/", {"theme": "dark", "zone": "Europe/Berlin"})
    page = client.get("/settings/profile/").content.decode()
    assert 'data-theme="dark" data-zone="Europe/Berlin"' in page
    assert Preference.of(people.dave).zone == "Europe/Berlin"
    assert client.post("/settings/times/", {"utc": "yes", "back": "/runs/"})["Location"] == "/runs/"
    assert 'data-zone="UTC"' in client.get("/runs/").content.decode()
    assert client.post("/settings/times/", {"utc": "no", "back": "https://evil.example"})["Location"] == "/"
    assert not Profile.objects.get().utc
    refused = client.post("/settings/profile/", {"theme": "", "zone": "Mars"})
    assert refused.status_code == 422 and "a time zone such as" in refused.content.decode()


def test_the_palette_finds_runs_gates_workflows_pages_and_actions(client, people, make_gate):
    gate = make_gate()

    def found(name, typed):
        client.force_login(people[name])
        return client.get("/commands/", {"q": typed}).content.decode()

    assert f"/runs/{gate.run_id}/" in found("dave", str(gate.run_id)[-6:])
    assert f"/gates/{gate.pk}/" in found("bob", gate.title[:10])
    assert "/workflows/t-gated/" in found("dave", "t-gated") and "Start a run of t-gated" not in found("dave", "t-gated")
    assert "/runs/new/t-gated/" in found("alice", "start t-gated") and "Hold t-gated" in found("alice", "hold t-gated")
    assert "/settings/people/" in found("carol", "people") and "/settings/people/" not in found("alice", "people")
    assert "Nothing is called “&lt;b&gt;”." in found("alice", "<b>")


def test_the_palette_shows_nobody_what_they_may_not_see(client, people, make_gate):
    gate = make_gate()
    client.force_login(people.mallory)
    page = client.get("/commands/", {"q": "t-gated"}).content.decode()
    assert str(gate.run_id) not in page and str(gate.pk) not in page


def test_a_stored_answer_is_not_for_a_token_that_may_not_ask(people):
    body = {"workflow": "t-line", "input": {}}
    answers = []
    for scope in ("all", "read"):
        headers = {"authorization": f"Bearer {ApiToken.issue(people.alice, scope=scope)}", "idempotency-key": "k1"}
        answers.append(Client(headers=headers).post("/api/runs", body, content_type="application/json").status_code)
    assert answers == [201, 403]


def test_a_secret_is_not_revealed_to_a_token_for_runs(people, make_run):
    run = make_run("t-secret")
    program = Client(headers={"authorization": f"Bearer {ApiToken.issue(people.carol, scope='runs')}"})
    refused = program.post(
        f"/api/runs/{run.pk}/checkpoints/0/reveal", {"path": "/x", "reason": "r"}, content_type="application/json"
    )
    assert refused.status_code == 403


def test_every_workflow_has_a_page_also_without_a_run(client, people):
    from workflows import registry

    client.force_login(people.alice)
    for workflow in registry.all_newest():
        assert client.get(f"/workflows/{workflow.name}/").status_code == 200
