"""The HTTP contract: works, wrong method, outsider, already done, bad input."""

import json
import uuid

import pytest
from django.test import Client

from holdfast.models import ApiToken
from runs.models import Run
from tests import flows

pytestmark = pytest.mark.django_db
HOSTILE = [
    "<script>alert(1)</script>",
    "{{ 7*7 }}{% csrf_token %}",
    "\u202eevil",
    "🦀" * 50,
    "' OR 1=1 --",
    "x" * 100_000,
]


class Api:
    def __init__(self, user):
        self.client = Client(headers={"authorization": f"Bearer {ApiToken.issue(user)}"} if user else {})

    def get(self, path, **query):
        return self.client.get(path, query)

    def post(self, path, body, **headers):
        return self.client.post(path, json.dumps(body), content_type="application/json", headers=headers)


@pytest.fixture
def api(people):
    return lambda name: Api(people[name] if name else None)


def problem(response, status, kind):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["type"], body["status"]) == (kind, status)
    return body


def test_a_run_is_started_and_shown(api):
    body = {"workflow": "t-line", "input": {"n": 1}, "labels": {"customer": "acme"}}
    made = api("alice").post("/api/runs", body)
    assert made.status_code == 201
    run = made.json()
    assert (run["status"], run["input"], run["output"], run["gates"], run["seq"]) == ("queued", {"n": 1}, None, [], 0)
    assert api("dave").get(f"/api/runs/{run['id']}").json()["labels"] == {"customer": "acme"}


def test_the_same_key_gives_the_same_run(api):
    body = {"workflow": "t-line", "input": {"n": 1}, "idempotency_key": "k"}
    first, again = api("alice").post("/api/runs", body), api("alice").post("/api/runs", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = problem(api("alice").post("/api/runs", {**body, "input": {"n": 2}}), 409, "key-taken")
    assert other["run"]["id"] == first.json()["id"]
    assert Run.objects.count() == 1


def test_an_idempotency_key_header_stores_the_answer(api):
    body = {"workflow": "t-line", "input": {}}
    alice = api("alice")
    first = alice.post("/api/runs", body, **{"idempotency-key": "h"})
    again = alice.post("/api/runs", body, **{"idempotency-key": "h"})
    assert (first.status_code, again.status_code, first.content) == (201, 201, again.content)
    problem(alice.post("/api/runs", {**body, "input": {"n": 1}}, **{"idempotency-key": "h"}), 422, "idempotency-key-reused")
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "kind", "field"),
    [
        ({"workflow": "nope", "input": {}}, 404, "unknown-workflow", None),
        ({"workflow": "t-line", "input": {"n": "many"}}, 422, "invalid-state", "input.n"),
        ({"workflow": "t-line", "input": {"zzz": 1}}, 422, "invalid-state", "input.zzz"),
        ({"workflow": "t-line", "input": [1]}, 422, "invalid-state", "input"),
        ({"workflow": "t-line", "input": None}, 422, "invalid-state", "input"),
        ({"workflow": "t-line"}, 422, "invalid-request", "input"),
        ({"workflow": "t-line", "input": {}, "extra": 1}, 422, "invalid-request", "extra"),
        ({"workflow": 7, "input": {}}, 422, "invalid-request", "workflow"),
        ({"workflow": "t-line", "input": {}, "labels": {"a b": "c"}}, 422, "invalid-state", "labels.a b"),
        ({"workflow": "t-line", "input": {}, "idempotency_key": ""}, 422, "invalid-state", "idempotency_key"),
        ([], 422, "invalid-request", None),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(api, body, status, kind, field):
    found = problem(api("alice").post("/api/runs", body), status, kind)
    if field:
        assert any(name == field or name.endswith(field) for name in found["errors"]), found
    assert Run.objects.count() == 0


@pytest.mark.parametrize("raw", ["{", '{"workflow": NaN}', '{"workflow": "t-line", "input": {"answer": "\\u0000"}}', "\ud800x"])
def test_malformed_json_is_a_400(api, raw):
    data = raw.encode("utf-8", "surrogatepass")
    response = api("alice").client.post("/api/runs", data, content_type="application/json")
    problem(response, 400, "malformed-json")


def test_another_content_type_is_a_415(api):
    problem(api("alice").client.post("/api/runs", b"a=1", content_type="text/plain"), 415, "wrong-content-type")


def test_who_may_not_is_told_so(api):
    body = {"workflow": "t-line", "input": {}}
    for name in ("dave", "bob", "mallory"):
        problem(api(name).post("/api/runs", body), 403, "not-permitted")
    problem(api(None).post("/api/runs", body), 401, "not-signed-in")


def test_an_expired_or_wrong_token_is_a_401(people):
    from datetime import timedelta

    from runs.clock import Now

    token = ApiToken.issue(people.alice, expires_at=None)
    ApiToken.objects.update(expires_at=Now() - timedelta(seconds=1))
    for text in (token, "hf_wrong"):
        problem(Client(headers={"authorization": f"Bearer {text}"}).get("/api/runs"), 401, "not-signed-in")


def test_tokens_are_hashed_at_rest(people):
    token = ApiToken.issue(people.alice)
    assert token not in str(list(ApiToken.objects.values()))


def test_an_outsider_sees_nothing(api, make_run, make_gate):
    run, gate = make_run(), make_gate()
    mallory = api("mallory")
    for path in (f"/api/runs/{run.pk}", f"/api/runs/{run.pk}/journal", f"/api/runs/{run.pk}/checkpoints/0",
                 f"/api/gates/{gate.pk}", f"/api/runs/{uuid.uuid4()}"):  # fmt: skip
        problem(mallory.get(path), 404, "not-found")
    assert mallory.get("/api/runs").json() == {"items": [], "next": None}
    decision = {"verdict": "approve", "version": 1, "proposal_hash": gate.proposal_hash}
    problem(mallory.post(f"/api/gates/{gate.pk}/decisions", decision), 404, "not-found")


def test_a_session_needs_the_csrf_token(people):
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    body = json.dumps({"workflow": "t-line", "input": {}})
    problem(client.post("/api/runs", body, content_type="application/json"), 403, "not-permitted")
    assert client.get("/api/runs").status_code == 200
    token = client.get("/runs/").context["csrf_token"]
    headers = {"x-csrftoken": str(token)}
    assert client.post("/api/runs", body, content_type="application/json", headers=headers).status_code == 201


def test_unknown_addresses_and_methods_are_problems(api):
    problem(api("alice").get("/api/nothing"), 404, "not-found")
    problem(api("alice").client.delete("/api/runs"), 405, "method-not-allowed")


def test_lists_page_by_cursor_and_ask_a_constant_number_of_queries(api, make_run, django_assert_max_num_queries):
    runs = [str(make_run().pk) for _ in range(7)]
    alice, seen, cursor = api("alice"), [], None
    alice.get("/api/me")  # which notes that the token is in use
    while True:
        with django_assert_max_num_queries(3):
            page = alice.get("/api/runs", limit=3, **({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == runs[::-1]
    assert "input" not in page["items"][0]
    problem(alice.get("/api/runs", cursor="zzz"), 400, "invalid-cursor")
    problem(alice.get("/api/runs", limit=201), 422, "invalid-request")


def test_lists_filter(api, people):
    from engine.services.starting import start

    start(workflow="t-line", input={}, by=people.alice, labels={"customer": "acme"})
    start(workflow="t-loop", input={}, by=people.alice)
    alice = api("alice")

    def names(**query):
        return [item["workflow"] for item in alice.get("/api/runs", **query).json()["items"]]

    assert names(workflow="t-loop") == ["t-loop"]
    assert names(label="customer:acme") == names(q="acme") == ["t-line"]
    assert names(status="failed") == []
    assert len(names(status="queued")) == 2
    problem(alice.get("/api/runs", status="lost"), 422, "invalid-request")
    problem(alice.get("/api/runs", label="customer"), 422, "invalid-request")


def test_the_journal_pages_both_ways_and_filters(api, make_run, worker):
    run = make_run("t-line")
    worker(run)
    alice, path = api("alice"), f"/api/runs/{run.pk}/journal"

    def seqs(**query):
        return [entry["seq"] for entry in alice.get(path, **query).json()["items"]]

    assert seqs() == [0, 1, 2, 3, 4]
    assert seqs(after=2) == [3, 4]
    assert seqs(order="desc", limit=2) == [4, 3]
    assert alice.get(path, order="desc", limit=2).json()["next"] == 3
    assert seqs(order="desc", before=3, limit=2) == [2, 1]
    assert seqs(kind="ended") == [4]
    entry = alice.get(path).json()["items"][1]
    assert set(entry) == {"seq", "kind", "step", "attempt", "at", "started_at", "duration_ms", "detail"}


def test_a_checkpoint_shows_state_delta_and_digest(api, make_run, worker):
    run = make_run("t-line", n=4)
    worker(run)
    found = api("dave").get(f"/api/runs/{run.pk}/checkpoints/1").json()
    assert (found["state"]["n"], found["state"]["log"], found["returned"]["log"]) == (4, ["one"], ["one"])
    assert (found["usage"]["cost_usd"], len(found["digest"])) == (0.01, 64)
    assert api("dave").get(f"/api/runs/{run.pk}/checkpoints/99").json()["seq"] == 3


def test_a_gate_is_decided_once(api, make_gate, worker):
    gate = make_gate()
    bob = api("bob")
    mine = bob.get("/api/gates", status="open", mine="true").json()["items"]
    assert [item["id"] for item in mine] == [str(gate.pk)]
    shown = bob.get(f"/api/gates/{gate.pk}").json()
    assert (shown["action"]["args"], shown["quorum"]) == ({"amount": 400}, {"needed": 1, "got": 0})
    assert shown["action"]["schema"]["properties"]["amount"]["type"] == "integer"
    body = {"verdict": "approve", "version": shown["version"], "proposal_hash": shown["proposal_hash"]}
    problem(api("dave").post(f"/api/gates/{gate.pk}/decisions", body), 403, "not-yours")
    problem(bob.post(f"/api/gates/{gate.pk}/decisions", {**body, "version": 9}), 409, "gate-changed")
    refused = problem(
        bob.post(f"/api/gates/{gate.pk}/decisions", {**body, "verdict": "edit", "args": {}}), 422, "invalid-decision"
    )
    assert "args" in refused["errors"]
    assert bob.post(f"/api/gates/{gate.pk}/decisions", body).status_code == 201
    late = problem(api("erin").post(f"/api/gates/{gate.pk}/decisions", body), 409, "gate-closed")
    assert late["gate"]["outcome"]["by"] == "bob"
    problem(bob.post(f"/api/gates/{uuid.uuid4()}/decisions", body), 404, "not-found")


def test_controls_follow_the_status(api, make_run):
    run = make_run()
    alice = api("alice")
    problem(alice.post(f"/api/runs/{run.pk}/retry", {}), 409, "wrong-status")
    assert alice.post(f"/api/runs/{run.pk}/hold", {"reason": "wait"}).json()["status"] == "held"
    problem(alice.post(f"/api/runs/{run.pk}/hold", {}), 409, "wrong-status")
    assert alice.post(f"/api/runs/{run.pk}/release", {}).json()["status"] == "queued"
    problem(api("dave").post(f"/api/runs/{run.pk}/cancel", {}), 403, "not-permitted")
    assert alice.post(f"/api/runs/{run.pk}/cancel", {"reason": "no"}).status_code == 202
    refused = problem(alice.post(f"/api/runs/{run.pk}/cancel", {}), 409, "wrong-status")
    assert refused["run"]["status"] == "cancelled"


def test_a_failed_run_goes_on_with_a_corrected_state(api, make_run, worker):
    flows.script["do"] = lambda state, ctx: {"answer": 5} if state.n == 0 else {"answer": "fine"}
    run = make_run("t-strict")
    worker(run)
    alice = api("alice")
    refused = alice.post(f"/api/runs/{run.pk}/retry", {"changes": {"n": "x"}})
    assert "changes.n" in problem(refused, 422, "invalid-state")["errors"]
    assert alice.post(f"/api/runs/{run.pk}/retry", {"changes": {"n": 1}, "reason": "typo"}).status_code == 202
    worker(run)
    assert alice.get(f"/api/runs/{run.pk}").json()["output"]["answer"] == "fine"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_stored_and_shown_inert(api, make_run, worker, people, text):
    run = make_run("t-line", answer=text)
    worker(run)
    assert api("alice").get(f"/api/runs/{run.pk}").json()["output"]["answer"] == text
    client = Client()
    client.force_login(people.alice)
    for path in (f"/runs/{run.pk}/", f"/runs/{run.pk}/checkpoints/3/", f"/runs/?q={text[:50]}"):
        page = client.get(path)
        assert page.status_code == 200
        assert b"<script>alert" not in page.content


def test_the_api_describes_itself(api):
    described = Client().get("/api/openapi.json").json()
    operations = [call["operationId"] for path in described["paths"].values() for call in path.values()]
    assert len(operations) == len(set(operations))
    assert {"create_run", "list_runs", "get_run", "list_journal", "get_checkpoint", "create_decision"} <= set(operations)
    assert "queued" in json.dumps(described["components"]["schemas"]["Status"])
    assert described["components"]["schemas"]["RunIn"]["examples"]
    assert b"cdn" not in Client().get("/api/docs").content


def test_workflows_are_described(api):
    found = api("dave").get("/api/workflows/t-gated").json()
    assert {"name": "boss", "kind": "gate"} in found["graph"]["nodes"]
    assert found["input_schema"]["properties"]["amount"]["type"] == "integer"
    problem(api("dave").get("/api/workflows/nope"), 404, "unknown-workflow")
    assert {"t-line", "refund"} <= {item["name"] for item in api("dave").get("/api/workflows").json()["items"]}


def test_stats_count(api, make_run, make_gate):
    make_run()
    make_gate()
    found = api("dave").get("/api/stats").json()
    assert (found["by_status"]["queued"], found["by_status"]["waiting"], found["waiting"]["by_age"]["under_1h"]) == (
        1,
        1,
        1,
    )


def test_me_says_who(api):
    assert api("bob").get("/api/me").json() == {"username": "bob", "roles": ["approver"], "groups": ["finance"]}


def test_liveness_and_readiness(db):
    assert Client().get("/healthz").json() == {"ok": True}
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["sweeper"]["ok"] is False


def test_a_database_that_is_away_is_a_503(api, monkeypatch):
    from django.db import OperationalError

    from runs import stats

    def away(runs):
        raise OperationalError("the database system is shutting down")

    monkeypatch.setattr(stats, "counts", away)
    found = problem(api("alice").get("/api/stats"), 503, "unavailable")
    assert "shutting down" not in found["detail"]


def test_a_page_before_the_window_can_be_read(people, make_run, worker):
    run = make_run("t-loop", until=250)
    worker(run)
    client = Client()
    client.force_login(people.dave)
    timeline = client.get(f"/runs/{run.pk}/").content
    assert b"Earlier" in timeline and b'id="row-0"' not in timeline
    assert b'id="row-0"' in client.get(f"/runs/{run.pk}/?at=0").content
    page = client.get(f"/runs/{run.pk}/journal/")
    assert b"Earlier entries" in page.content
    assert b'id="entry-0"' not in page.content
    earlier = client.get(f"/runs/{run.pk}/journal/?before=52")
    assert b'id="entry-0"' in earlier.content
    assert client.get(f"/runs/{run.pk}/journal/?before=\u00b2").status_code == 200


def test_logs_page_by_entries(api, make_run, worker):
    flows.script["failures"] = 1
    run = make_run("t-line")
    worker(run)
    first = api("dave").get(f"/api/runs/{run.pk}/logs", limit=1).json()
    assert [line["message"] for line in first["items"]] == ["in one"]
    assert first["next"] is None
