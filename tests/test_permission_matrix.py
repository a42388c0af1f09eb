"""Every door × everybody × a gate of others, one's own, a closed one: what each is answered, and whose decision is there."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from approvals.models import Gate
from holdfast.models import ApiToken
from runs.models import Event, Run
from workflows import Policy

pytestmark = pytest.mark.django_db
WHO = ("alice", "bob", "carol", "dave", "mallory", "nobody")
# What each is answered: an operator, an approver in finance, an admin, a viewer, somebody outside, somebody not signed in (whom
# pages send to sign in: 302).
MATRIX = """
decide by api      others      403     201     403     403     404     401
decide by api      own         403     403     403     403     404     401
decide by api      closed      403     409     403     403     404     401
decide by page     others      403     302     403     403     404     302
decide by page     own         403     403     403     403     404     302
decide by page     closed      403     409     403     403     404     302
decide in a batch  others      403     201     403     403     404     401
decide in a batch  own         403     403     403     403     404     401
decide in a batch  closed      403     409     403     403     404     401
bypass by api      others      403     403     200     403     404     401
bypass by api      own         403     403     403     403     404     401
bypass by api      closed      403     403     409     403     404     401
bypass by page     others      403     403     302     403     404     302
bypass by page     own         403     403     403     403     404     302
bypass by page     closed      403     403     409     403     404     302
claim              others      403     200     403     403     404     401
claim              own         403     403     403     403     404     401
claim              closed      409     409     409     409     404     401
delegate           others      403     200     403     403     404     401
delegate           own         403     403     403     403     404     401
delegate           closed      409     409     409     409     404     401
snooze             others      403     200     403     403     404     401
snooze             own         403     403     403     403     404     401
snooze             closed      409     409     409     409     404     401
comment            others      200     200     200     200     404     401
comment            own         200     200     200     200     404     401
comment            closed      200     200     200     200     404     401
undo               others      404     404     404     404     404     401
undo               own         404     404     404     404     404     401
undo               closed      403     403     403     403     404     401
read               others      200     200     200     200     404     401
read               own         200     200     200     200     404     401
read               closed      200     200     200     200     404     401
fork the run       others      403     403     201     403     404     401
fork the run       own         403     403     201     403     404     401
fork the run       closed      403     403     201     403     404     401
retry the run      others      409     403     409     403     404     401
retry the run      own         409     403     409     403     404     401
retry the run      closed      409     403     409     403     404     401
admin site         others      302     302     302     302     302     302
admin site         own         302     302     302     302     302     302
admin site         closed      302     302     302     302     302     302
"""
ROWS = [re.match(r"(.+?) +(others|own|closed) +(.*)", line).groups() for line in MATRIX.strip().splitlines()]
WRITES = {"decide by api", "decide by page", "decide in a batch", "bypass by api", "bypass by page"}


@pytest.fixture
def clients(people):
    """By name: a client with a token, and one with a session."""
    found: dict[str, tuple[Client, Client]] = {}
    for name in WHO:
        page, api = Client(), Client()
        if name != "nobody":
            page.force_login(people[name])
            api = Client(headers={"Authorization": f"Bearer {ApiToken.issue(people[name])}"})
        found[name] = (api, page)
    return found


@pytest.fixture
def gate_of(ask, people, answer):
    """A fresh gate: of erin's run, or one that she has closed."""

    def make(which: str) -> Gate:
        gate: Gate = ask(Policy(approvers=["group:finance"], allow_self=False))
        if which == "closed":
            answer(gate, "erin", "approve")
        own(gate, people.erin)
        return gate

    return make


def own(gate: Gate, user: Any) -> None:
    """From now on it is the user's own run."""
    Run.objects.filter(pk=gate.run_id).update(starters=[user.pk] if user else [], created_by=user)
    gate.refresh_from_db()


def knock(door: str, gate: Gate, api: Client, page: Client) -> int:
    seen: dict[str, Any] = {"version": gate.version, "proposal_hash": gate.proposal_hash}
    url, run = f"/api/gates/{gate.pk}", f"/api/runs/{gate.run_id}"

    def post(path: str, body: Any) -> Any:
        return api.post(path, json.dumps(body), content_type="application/json")

    def found(response: Any) -> int:
        return int(response.status_code)

    if door == "decide by api":
        return found(post(f"{url}/decisions", {"verdict": "approve", **seen}))
    if door == "decide by page":
        return found(page.post(f"/gates/{gate.pk}/decisions/", {"verdict": "approve", **seen}))
    if door == "decide in a batch":
        response = post("/api/gates/decisions", [{"gate": str(gate.pk), "verdict": "approve", **seen}])
        return int(response.json()[0]["status"]) if response.status_code == 200 else found(response)
    if door == "bypass by api":
        return found(post(f"{url}/bypass", {"verdict": "approve", "reason": "alone here"}))
    if door == "bypass by page":
        return found(page.post(f"/gates/{gate.pk}/bypass/", {"verdict": "approve", "comment": "alone here", **seen}))
    if door == "claim":
        return found(post(f"{url}/claim", {}))
    if door == "delegate":
        return found(post(f"{url}/delegate", {"to": "dave"}))
    if door == "snooze":
        return found(post(f"{url}/snooze", {"until": "2030-01-01T00:00:00Z"}))
    if door == "comment":
        return found(post(f"{url}/comments", {"text": "hello"}))
    if door == "undo":
        made = gate.decisions.first()
        return found(api.delete(f"{url}/decisions/{made.pk if made else 1}"))
    if door == "read":
        return found(api.get(url))
    if door == "fork the run":
        return found(post(f"{run}/forks", {"seq": 0, "effects": "execute"}))
    if door == "retry the run":
        return found(post(f"{run}/retry", {}))
    return found(page.get(f"/admin/approvals/gate/{gate.pk}/change/"))


@pytest.mark.parametrize(("door", "which", "answered"), ROWS)
def test_a_door_opens_only_for_whom_the_policy_says(door, which, answered, clients, gate_of, people):
    expected = dict(zip(WHO, map(int, answered.split()), strict=True))
    answers: dict[str, int] = {}
    decided, gate = set(), gate_of(which)
    for name in WHO:
        if which == "own":
            own(gate, people.get(name))
        before = gate.decisions.count()
        answers[name] = knock(door, gate, *clients[name])
        if gate.decisions.count() != before:
            decided.add(name)
        if answers[name] < 400:  # something may have happened to it
            gate = gate_of(which)
    assert answers == expected
    allowed = {"bob"} if "decide" in door else {"carol"}
    assert decided == (allowed if door in WRITES and which == "others" else set())


def test_a_superuser_edits_no_gate_decision_or_journal_in_the_admin_site(people, ask):
    people.carol.is_superuser = people.carol.is_staff = True
    people.carol.save()
    client = Client()
    client.force_login(people.carol)
    gate = ask(Policy(approvers=["group:finance"]))
    for path in ("approvals/gate", "approvals/decision", "approvals/delegation", "runs/event", "runs/run"):
        assert client.get(f"/admin/{path}/").status_code == 404, path
    assert gate.run.events.count() == Event.objects.filter(run=gate.run_id).count()
