"""The audit: every act of a person, through every door, and nothing of it can be changed unnoticed."""

import io
import json
from datetime import time
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, InternalError, ProgrammingError, connection, transaction
from django.test import Client

from approvals.services import people as at_gates
from approvals.services.taking_back import take_back
from engine.services import controls
from runs import audit_chain
from runs.models import Act, AuditEntry
from tests.conftest import together


def acts(**narrowed):
    return [(entry.actor, entry.act) for entry in AuditEntry.objects.filter(**narrowed).order_by("id")]


def test_a_decision_says_who_from_where_through_which_door_what_was_seen_and_what_was_said(make_gate, answer, people):
    gate = make_gate()
    decision = answer(gate, "bob", "edit", args={"amount": 350}, comment="less will do")
    entry = AuditEntry.objects.get(decision_id=decision.pk)
    assert (entry.actor, entry.actor_id, entry.act, entry.channel) == ("bob", people.bob.pk, Act.DECIDED, "api")
    assert (entry.run_id, entry.gate_id, entry.reason) == (gate.run_id, gate.pk, "less will do")
    facts = entry.facts()
    assert facts["seen"]["action"]["args"] == {"amount": 400}
    assert facts["seen"]["proposal_hash"] == gate.proposal_hash
    gate.refresh_from_db()
    assert gate.proposal_hash != facts["seen"]["proposal_hash"]  # the edit is another proposal
    assert facts["changed"]["verdict"] == "edit" and facts["changed"]["args"] == {"amount": 350}


def test_what_people_do_at_a_gate_beside_deciding_is_there(make_gate, answer, people):
    gate = make_gate()
    at_gates.claim(gate.pk, by=people.bob)
    at_gates.comment(gate.pk, by=people.bob, text="looks right, @erin?")
    at_gates.delegate(gate.pk, by=people.bob, to="carol", reason="away")
    at_gates.take_back_delegation(gate.pk, by=people.bob)
    vote = answer(gate, "bob", "approve", channel="page")
    take_back(gate.pk, vote.pk, by=people.bob)
    assert [act for _, act in acts(gate_id=gate.pk)] == [
        Act.CLAIMED, Act.COMMENTED, Act.DELEGATED, Act.UNDELEGATED, Act.DECIDED, Act.TOOK_BACK
    ]  # fmt: skip


def test_the_policys_own_decision_is_nobodys_act(make_gate, at):
    from approvals.services import clock

    gate = make_gate()
    at("2 hours")
    assert clock.expire(gate.pk)
    assert acts(gate_id=gate.pk) == []


def test_what_operators_and_admins_do_to_a_run_is_there_with_what_they_saw(make_run, worker, people):
    run = make_run()
    controls.hold(run.pk, by=people.alice, reason="wait")
    controls.add_note(run.pk, by=people.alice, text="erin is on it")
    controls.release(run.pk, by=people.alice)
    controls.cancel(run.pk, by=people.alice, reason="enough")
    assert acts(run_id=run.pk) == [("alice", act) for act in (Act.STARTED, Act.HELD, Act.NOTED, Act.RELEASED, Act.CANCELLED)]
    held = AuditEntry.objects.get(act=Act.HELD)
    assert held.facts()["seen"] == {"status": "queued", "step": "one", "seq": 0} and held.reason == "wait"


def test_an_act_that_was_refused_is_no_act(make_gate, answer, people):
    gate = make_gate()
    with pytest.raises(Exception, match="not one of them"):
        answer(gate, "carol", "approve")
    with pytest.raises(Exception, match="the role admin"):
        controls.roll_back(gate.run_id, by=people.alice)
    assert acts(gate_id=gate.pk) == [] and not AuditEntry.objects.filter(act=Act.ROLLED_BACK).exists()


def test_the_page_and_the_token_leave_their_channel_and_address(make_run, people, settings):
    from holdfast.models import ApiToken

    run = make_run()
    page = Client(REMOTE_ADDR="10.1.2.3")
    page.force_login(people.alice)
    page.post(f"/runs/{run.pk}/controls/hold/", {"reason": "by page", "seq": "0"})
    token = ApiToken.issue(people.alice)
    Client(REMOTE_ADDR="10.9.9.9").post(
        f"/api/runs/{run.pk}/release", {}, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {token}"
    )
    found = AuditEntry.objects.filter(run_id=run.pk, act__in=[Act.HELD, Act.RELEASED]).order_by("id")
    assert [(one.channel, one.address) for one in found] == [("page", "10.1.2.3"), ("api", "10.9.9.9")]


def test_signing_in_out_and_failing_to_is_there(people):
    User.objects.filter(pk=people.bob.pk).update(password="")
    people.bob.set_password("a good password")
    people.bob.save()
    client = Client(REMOTE_ADDR="10.0.0.7")
    assert client.post("/sign-in/", {"username": "bob", "password": "wrong"}).status_code == 200
    assert client.post("/sign-in/", {"username": "bob", "password": "a good password"}).status_code == 302
    client.post("/sign-out/")
    assert acts() == [("bob", Act.SIGN_IN_REFUSED), ("bob", Act.SIGNED_IN), ("bob", Act.SIGNED_OUT)]
    assert set(AuditEntry.objects.values_list("address", flat=True)) == {"10.0.0.7"}


def test_guessing_a_password_is_slowed_down_for_that_name_from_that_address(people):
    people.bob.set_password("a good password")
    people.bob.save()
    client = Client(REMOTE_ADDR="10.77.0.1")
    spelled = ["bob", " bob", "bob ", "\u2002bob", "BOB"]
    codes = [client.post("/sign-in/", {"username": spelled[n % 5], "password": "wrong"}).status_code for n in range(11)]
    assert codes == [200] * 10 + [429]
    assert client.post("/sign-in/", {"username": "bob", "password": "a good password"}).status_code == 429
    elsewhere = Client(REMOTE_ADDR="10.77.0.2")
    assert elsewhere.post("/sign-in/", {"username": "bob", "password": "a good password"}).status_code == 302


def test_what_was_typed_as_a_name_is_not_kept_where_it_is_nobodys(people, client):
    client.post("/sign-in/", {"username": "my secret password", "password": "x"})
    entry = AuditEntry.objects.get()
    assert entry.actor == entry.subject == "nobody’s name"


def test_preferences_and_passwords_are_acts_and_admins_pages_have_one_door(people, client):
    from approvals.models import Preference
    from approvals.services import preferences

    preferences.change(people.bob, {**Preference(user=people.bob).as_json(), "email": "off", "digest_at": time(8)})
    people.bob.set_password("a good password")
    people.bob.save()
    client.force_login(people.bob)
    new = {"old_password": "a good password", "new_password1": "another good one", "new_password2": "another good one"}
    assert client.post("/admin/password_change/", new).status_code == 302
    client.post("/admin/logout/")
    assert client.get("/admin/login/").status_code == 302
    assert acts() == [("bob", Act.PREFERENCE_CHANGED), ("bob", Act.PASSWORD_CHANGED), ("bob", Act.SIGNED_OUT)]


def test_a_new_member_of_an_approving_group_is_an_act(people, client):
    from django.contrib.auth.models import Group

    people.carol.is_staff = people.carol.is_superuser = True
    people.carol.save()
    client.force_login(people.carol)
    finance = Group.objects.get(name="finance")
    client.post(f"/admin/auth/user/{people.mallory.pk}/change/", {
        "username": "mallory", "password": "", "is_active": "on", "groups": [finance.pk],
        "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00",
    })  # fmt: skip
    entry = AuditEntry.objects.get(act=Act.ADMINISTERED)
    assert entry.actor == "carol" and entry.subject == "user mallory" and entry.facts()["changed"]["groups"] == ["finance"]


# -- append-only, and a chain


@pytest.mark.django_db(transaction=True)
def test_the_order_of_the_chain_is_the_order_of_commits(make_run, people):
    runs = [make_run() for _ in range(6)]
    together(6, lambda number: controls.hold(runs[number].pk, by=people.alice))
    found = list(AuditEntry.objects.order_by("seq").values_list("seq", flat=True))
    assert found == list(range(12))
    report = audit_chain.verify()
    assert report.entries == 12 and not report.breaks


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", [
    "UPDATE runs_auditentry SET actor = 'erin'",
    "UPDATE runs_auditentry SET seq = 7",
    "DELETE FROM runs_auditentry",
])  # fmt: skip
def test_nobody_changes_or_deletes_an_act(make_run, statement):
    make_run()
    with pytest.raises((ProgrammingError, InternalError, DatabaseError), match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)
    assert not audit_chain.verify().breaks


@pytest.mark.django_db(transaction=True)
def test_the_table_cannot_be_emptied(make_run):
    make_run()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_auditentry ENABLE TRIGGER audit_keep_all")
        try:
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                cursor.execute("TRUNCATE runs_auditentry")
        finally:
            cursor.execute("ALTER TABLE runs_auditentry DISABLE TRIGGER audit_keep_all")


def by_force(statement):
    """As a superuser who turns the triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        assert cursor.rowcount == 1
        cursor.execute("SET session_replication_role = DEFAULT")


def verified():
    out = io.StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("verify_history", stdout=out)
    return out.getvalue(), str(refused.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("statement", "says"), [
    ("UPDATE runs_auditentry SET actor = 'erin' WHERE seq = 1", "audit seq 1 (row"),
    ("UPDATE runs_auditentry SET detail = '{}' WHERE seq = 1", "audit seq 1 (row"),
    ("UPDATE runs_auditentry SET address = '1.1.1.1' WHERE seq = 1", "audit seq 1 (row"),
    ("UPDATE runs_auditentry SET at = at + interval '1 s' WHERE seq = 1", "audit seq 1 (row"),
    ("UPDATE runs_auditentry SET digest = sha256('x') WHERE seq = 1", "audit seq 1 (row"),
    ("DELETE FROM runs_auditentry WHERE seq = 1", "audit seq 1: the act is gone"),
    ("DELETE FROM runs_auditentry WHERE seq = 3", "audit seq 3: the act is gone"),
    ("INSERT INTO runs_auditentry (at, actor, act, channel, address, subject, reason, detail, content_hash) "
     "VALUES (now(), 'bob', 'decided', 'page', '', '', '', '{}', sha256('x'))", "it was written past the chain"),
])  # fmt: skip
def test_what_was_forced_past_the_triggers_is_named(make_run, statement, says):
    for _ in range(4):
        make_run()
    by_force(statement)
    lines, why = verified()
    assert says in lines and "The audit is not as it was written; the runs are sound" in why


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["DELETE FROM runs_audithead", "UPDATE runs_audithead SET seq = 0",
                                       "UPDATE runs_audithead SET id = 2"])  # fmt: skip
def test_the_end_of_the_chain_is_guarded_and_missed(make_run, statement):
    make_run()
    with pytest.raises(DatabaseError, match="only goes on"), transaction.atomic():
        connection.cursor().execute(statement)
    by_force("DELETE FROM runs_audithead")
    assert "the row that names the last act is gone" in verified()[0]


@pytest.mark.django_db(transaction=True)
def test_a_sound_audit_prints_its_end(make_run):
    make_run()
    out = io.StringIO()
    call_command("verify_history", stdout=out)
    assert "1 acts" in out.getvalue() and audit_chain.verify().digest in out.getvalue()


def test_secrets_are_masked_in_what_was_seen(people, worker):
    from engine.services import starting

    run, _ = starting.start(workflow="t-secret", input={"token": "sk-very-secret"}, by=people.alice)
    assert "sk-very-secret" not in json.dumps(list(AuditEntry.objects.filter(run_id=run.pk).values_list("detail", flat=True)))


# -- reading it


@pytest.fixture
def three_acts(make_run, people):
    run = make_run()
    controls.hold(run.pk, by=people.alice, reason="=SUM(1)")
    controls.add_note(run.pk, by=people.carol, text="<b>look</b>")
    connection.check_constraints()  # what a commit would do
    return run


def test_the_api_narrows_and_pages_by_seq(three_acts, people, client):
    client.force_login(people.carol)

    def found(**query):
        return client.get("/api/audit", query).json()

    first = found(limit=2)
    assert [one["act"] for one in first["items"]] == ["noted", "held"] and first["next"] == first["items"][1]["seq"]
    assert [one["act"] for one in found(before=first["next"])["items"]] == ["started"]
    assert [one["act"] for one in found(order="asc", after=first["next"])["items"]] == ["noted"]
    assert [one["act"] for one in found(actor="alice")["items"]] == ["held", "started"]
    assert [one["act"] for one in found(act="noted", run=str(three_acts.pk), channel="command")["items"]] == ["noted"]
    assert [one["act"] for one in found(q="SUM")["items"]] == ["held"]
    assert found(since="2100-01-01T00:00:00Z")["items"] == []
    assert client.get("/api/audit", {"act": "flew"}).status_code == 422
    assert client.get("/api/audit", {"since": "2026-01-01T00:00:00"}).status_code == 422


def test_people_who_are_no_admins_read_their_own_acts(three_acts, people, client):
    client.force_login(people.alice)
    assert {one["actor"] for one in client.get("/api/audit").json()["items"]} == {"alice"}
    client.force_login(people.mallory)
    assert client.get("/api/audit").json()["items"] == []
    assert client.post("/api/audit").status_code == 405
    client.logout()
    assert client.get("/api/audit").status_code == 401
    assert client.get("/audit/").status_code == 302


def test_the_page_escapes_narrows_and_says_what_is_wrong(three_acts, people, client):
    client.force_login(people.carol)
    page = client.get("/audit/").content.decode()
    assert "&lt;b&gt;look&lt;/b&gt;" in page and "<b>look</b>" not in page
    assert "<strong>alice</strong> held" in page
    assert "noted" not in client.get("/audit/", {"actor": "alice"}).content.decode().split("<ol")[1]
    wrong = client.get("/audit/", {"run": "x"})
    assert wrong.status_code == 422 and "run:" in wrong.content.decode()
    assert "No act matches" in client.get("/audit/", {"actor": "nobody"}).content.decode()


@pytest.mark.parametrize("address", ["/audit/", "/api/audit/export"])
def test_it_is_exported_and_that_is_an_act_too(three_acts, people, client, address):
    client.force_login(people.carol)

    def taken(form, **query):
        if address == "/audit/":
            return client.post(f"{address}?{urlencode(query)}", {"format": form})
        return client.get(address, {"format": form, **query})

    lines = taken("jsonl", actor="alice")
    rows = [json.loads(line) for line in b"".join(lines.streaming_content).splitlines()]
    assert [row["act"] for row in rows] == ["started", "held"] and len(rows[0]["changed"]["input_sha256"]) == 64
    table = b"".join(taken("csv").streaming_content).decode()
    assert table.startswith("seq,at,actor,act,") and ",'=SUM(1)," in table  # no formula
    assert acts(act=Act.EXPORTED) == [("carol", Act.EXPORTED)] * 2
    assert "command" not in AuditEntry.objects.filter(act=Act.EXPORTED).values_list("channel", flat=True)
