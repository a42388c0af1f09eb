"""Histories over HTTP: each call works, is refused to outsiders, and names what is wrong with its input."""

import json
from typing import Any

import pytest

from approvals.models import Gate
from checkpoints.models import Checkpoint
from runs.models import Run
from tests.flows import script
from tests.test_store import flip, words
from workflows import masking

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid(make_run, worker):
    run = make_run("t-twice", amount=400)
    worker(run)
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def api(client, people):
    """``api("carol").get(...)``"""

    def sign_in(name: str) -> Any:
        client.force_login(people[name])
        return client

    return sign_in


def post(client: Any, path: str, body: Any, **headers: str) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def test_a_diff_is_a_json_patch(api, paid):
    found = api("dave").get(f"/api/runs/{paid.pk}/diff?a=1&b=2").json()
    assert found == {"a": 1, "b": 2, "patch": [
        {"op": "replace", "path": "/total", "value": 400},
        {"op": "add", "path": "/log/1", "value": "charged"},
        {"op": "replace", "path": "/answer", "value": "charged 400"},
    ]}  # fmt: skip
    assert api("dave").get(f"/api/runs/{paid.pk}/diff?a=2&b=2").json()["patch"] == []


def test_a_fork_over_http(api, paid, worker):
    made = post(api("carol"), f"/api/runs/{paid.pk}/forks", {"seq": 1, "changes": {"amount": 380}, "effects": "execute"})
    assert made.status_code == 201
    body = made.json()
    assert (body["forked_from"], body["step"], body["status"]) == ({"run": str(paid.pk), "seq": 1}, "charge", "queued")
    worker(Run.objects.get(pk=body["id"]))
    diff = api("dave").get(f"/api/runs/{paid.pk}/diff?a={paid.seq}&b=99&other_run={body['id']}").json()
    assert {one["path"] for one in diff["patch"]} == {"/amount", "/total", "/answer"}
    family = api("dave").get(f"/api/runs/{body['id']}/lineage").json()
    assert [one["id"] for one in family["items"]] == [str(paid.pk), body["id"]] and family["root"] == str(paid.pk)
    assert family["items"][1]["changed"] == {"amount": {"from": 400, "to": 380}}
    one = api("dave").get(f"/api/runs/{paid.pk}/lineage?limit=1").json()
    rest = api("dave").get(f"/api/runs/{paid.pk}/lineage?cursor={one['next']}").json()
    assert len(one["items"]) == 1 and [found["id"] for found in rest["items"]] == [body["id"]]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"seq": 1, "changes": {"amount": "many"}}, 422, "changes.amount"),
        ({"seq": 1, "changes": {"amount": 380}}, 422, "effects.charge"),
        ({"seq": 1, "effects": {"nothing": "reuse"}}, 422, "effects.nothing"),
        ({"seq": -5}, 422, "seq"),
        ({}, 422, "seq"),
        ({"seq": 1, "source": "burn"}, 422, "source"),
        ({"seq": 1, "more": 1}, 422, "more"),
        ({"seq": 1, "effects": "execute", "source": "cancel"}, 409, None),
    ],
)
def test_a_fork_that_cannot_be_is_refused_by_field(api, paid, body, status, field):
    refused = post(api("carol"), f"/api/runs/{paid.pk}/forks", body)
    assert refused.status_code == status and refused["Content-Type"] == "application/problem+json"
    assert field is None or any(name.startswith(field) for name in refused.json()["errors"])
    assert Run.objects.count() == 1


def test_who_may_not_fork_is_told_and_an_outsider_sees_nothing(api, paid):
    assert post(api("alice"), f"/api/runs/{paid.pk}/forks", {"seq": 1}).status_code == 403
    assert post(api("mallory"), f"/api/runs/{paid.pk}/forks", {"seq": 1}).status_code == 404
    for path in ("diff?a=0&b=1", "history?key=n", "lineage", "export", "verification", "fork-plan?seq=1", "checkpoints/1"):
        assert api("mallory").get(f"/api/runs/{paid.pk}/{path}").status_code == 404, path
    assert api("carol").get(f"/api/runs/{paid.pk}/forks").status_code == 405


def test_one_idempotency_key_makes_one_fork(api, paid):
    calls = [post(api("carol"), f"/api/runs/{paid.pk}/forks", {"seq": 1}, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert calls[0].status_code == calls[1].status_code == 201 and calls[0].json()["id"] == calls[1].json()["id"]
    assert Run.objects.count() == 2


def test_a_plan_says_what_would_be_kept_and_run(api, paid):
    plan = api("dave").get(f"/api/runs/{paid.pk}/fork-plan?seq=1").json()
    assert (plan["step"], plan["kept"]) == ("charge", ["think"])
    assert [(one["step"], one["recorded"], one["mode"]) for one in plan["ahead"]] == [
        ("charge", 1, "reuse"), ("between", 0, None), ("mail", 1, "reuse"), ("done", 0, None)
    ]  # fmt: skip


def test_a_flipped_byte_is_named_by_run_and_seq(api, paid):
    flip(Checkpoint.objects.get(run=paid, seq=2), "delta")
    client = api("carol")
    broken = client.get(f"/api/runs/{paid.pk}/checkpoints/3")
    assert broken.status_code == 409 and (broken.json()["run_id"], broken.json()["seq"]) == (str(paid.pk), 2)
    assert client.get(f"/api/runs/{paid.pk}/checkpoints/1").status_code == 200
    found = client.get(f"/api/runs/{paid.pk}/verification").json()
    assert (found["sound"], [one["seq"] for one in found["breaks"]]) == (False, [2])
    assert client.get("/api/runs").json()["items"][0]["history"]["broken_at"] == 2
    assert post(client, f"/api/runs/{paid.pk}/forks", {"seq": 3, "effects": "execute"}).status_code == 409
    assert post(client, f"/api/runs/{paid.pk}/forks", {"seq": 1, "effects": "execute"}).status_code == 201
    page = client.get(f"/runs/{paid.pk}/proof/").content.decode()
    assert f"The history of run {paid.pk} is broken" in page and "seq 2" in page
    assert "broken at seq 2" in client.get(f"/runs/{paid.pk}/").content.decode()
    assert "broken at seq 2" in client.get(f"/runs/{paid.pk}/checkpoints/4/").content.decode()


def test_where_a_key_changed(api, make_run, worker):
    run = make_run("t-line")
    worker(run)
    client = api("dave")
    found = client.get(f"/api/runs/{run.pk}/history?key=total").json()
    assert [(one["seq"], one["step"], one["from"], one["to"]) for one in found["items"]] == [
        (0, "", None, 0), (1, "one", 0, 2), (2, "two", 2, 5)
    ]  # fmt: skip
    first = client.get(f"/api/runs/{run.pk}/history?key=total&limit=2").json()
    assert len(first["items"]) == 2 and first["next"] == 1
    rest = client.get(f"/api/runs/{run.pk}/history?key=total&after=1").json()
    assert [one["seq"] for one in rest["items"]] == [2] and rest["next"] is None
    inside = client.get(f"/api/runs/{run.pk}/history?key=log[0]").json()["items"]
    assert [(one["seq"], one["from"], one["to"]) for one in inside] == [(1, None, "one")]
    assert client.get(f"/api/runs/{run.pk}/history?key=/log/1").json()["items"][0]["seq"] == 2
    assert client.get(f"/api/runs/{run.pk}/history?key=nothing").json()["items"] == []
    assert client.get(f"/api/runs/{run.pk}/history?key=").status_code == 422
    assert client.get(f"/api/runs/{run.pk}/history").status_code == 422


def test_a_secret_is_revealed_to_an_admin_alone(api, make_run, worker):
    run = make_run("t-secret", token="tok-9f8e7d6c5b4a")
    worker(run)
    path = f"/api/runs/{run.pk}/checkpoints/1/reveal"
    assert post(api("alice"), path, {"field": "token"}).status_code == 403
    assert post(api("carol"), path, {"field": "said"}).status_code == 422
    shown = post(api("carol"), path, {"field": "token", "reason": "incident"})
    assert shown.json() == {"field": "token", "value": "tok-9f8e7d6c5b4a"}
    assert api("dave").get(f"/api/runs/{run.pk}/checkpoints/1").json()["state"]["token"] == masking.MASK


def test_an_export_is_proven_as_it_came(api, paid):
    from engine.portable import document

    answer = api("dave").get(f"/api/runs/{paid.pk}/export")
    found = document.parsed(b"".join(answer.streaming_content))
    assert found["run"]["id"] == str(paid.pk) and "attachment" in answer["Content-Disposition"]


PAGES = ["", "checkpoints/2/", "checkpoints/2/values/?path=/log", "checkpoints/2/values/?path=/log/0&as=markdown", "lineage/",
         "checkpoints/2/search/?q=charged", "compare/?a=0&b=2", "compare/?a=0&b=2&view=inline", "history/?key=log", "history/",
         "proof/", "checkpoints/2/search/", "compare/", "checkpoints/2/values/"]  # fmt: skip


def test_the_pages_of_a_history(api, paid):
    for path in PAGES:
        assert api("dave").get(f"/runs/{paid.pk}/{path}").status_code == 200, path
        assert api("mallory").get(f"/runs/{paid.pk}/{path}").status_code == 404, path
    for path in ("checkpoints/2/values/?path=/nothing", "checkpoints/2/values/?path=x"):
        assert api("dave").get(f"/runs/{paid.pk}/{path}").status_code == 404, path
    assert api("dave").get(f"/runs/{paid.pk}/history/?key=%00").status_code in (200, 422)
    file = api("dave").get(f"/runs/{paid.pk}/checkpoints/2/file/")
    assert json.loads(file.content)["answer"] == "charged 400" and "attachment" in file["Content-Disposition"]


def test_a_long_list_is_paged_and_a_long_text_is_a_file(api, make_run, worker):
    messages = [{"role": "user", "content": f"m{at}"} for at in range(120)]
    script["grow"] = lambda state: {"document": words(3000), "messages": messages}
    run = make_run("t-big")
    worker(run)
    client = api("dave")
    page = client.get(f"/runs/{run.pk}/checkpoints/1/values/?path=/messages&after=100").content.decode()
    assert "m100" in page and "m119" in page and "m99" not in page
    text = client.get(f"/runs/{run.pk}/checkpoints/1/values/?path=/document&as=text")
    assert text.content.decode() == words(3000) and text["Content-Type"].startswith("text/plain")


def test_the_fork_page_previews_refuses_and_forks(api, paid):
    client = api("carol")
    page = client.get(f"/runs/{paid.pk}/fork/?seq=1").content.decode()
    assert "take the recorded result" in page and f"Fork …{paid.short_id} from seq 1" in page
    assert client.get(f"/runs/{paid.pk}/fork/").status_code == 200  # from the last place where something can begin
    form = {"seq": "1", "field-amount": "380", "field-n": "0", "field-total": "0", "field-log": '["thought"]',
            "field-until": "3", "field-answer": "", "reason": "typing error", "source": "leave", "key": "one"}  # fmt: skip
    preview = client.post(f"/runs/{paid.pk}/fork/", {**form, "preview": "1"}, headers={"HX-Request": "true"}).content.decode()
    assert "which you change" in preview and "400" in preview and "380" in preview and "<html" not in preview
    refused = client.post(f"/runs/{paid.pk}/fork/", form)
    assert refused.status_code == 422 and "Nothing was forked" in refused.content.decode()
    assert "which you change" in refused.content.decode() and "typing error" in refused.content.decode()
    chosen = form | {"effect-charge": "execute", "effect-mail": "execute"}
    for _ in range(2):  # sent twice by an impatient finger
        assert client.post(f"/runs/{paid.pk}/fork/", chosen).status_code == 302
    made = Run.objects.exclude(pk=paid.pk).get()
    assert made.forked_at_seq == 1 and made.checkpoints.get(seq=2).changed() == {"amount": {"to": 380}}
    wrong = client.post(f"/runs/{paid.pk}/fork/", form | {"field-amount": "many", "key": "two"})
    assert wrong.status_code == 422 and Run.objects.count() == 2
    for text in ("[1]", "{", '{"nothing": 1}'):
        assert client.post(f"/runs/{paid.pk}/fork/", chosen | {"json": text, "key": text}).status_code == 422, text
    assert api("alice").get(f"/runs/{paid.pk}/fork/?seq=1").status_code == 403
    assert Run.objects.count() == 2


def test_hostile_texts_stay_texts(api, make_run, worker):
    evil = '"><script>alert(1)</script>'
    script["grow"] = lambda state: {
        "facts": {evil: "<img src=x onerror=alert(2)>", "\u202eback": "to \u202e front"},
        "document": evil,
    }
    run = make_run("t-big", document="<b>" * 400)
    worker(run)
    client = api("carol")
    paths = ["checkpoints/1/", "compare/?a=0&b=1", "checkpoints/1/search/?q=script", "history/?key=document", "fork/?seq=0", "",
             f"checkpoints/1/search/?q={evil}", f"history/?key={evil}"]  # fmt: skip
    for path in paths:
        page = client.get(f"/runs/{run.pk}/{path}").content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page and "<b><b>" not in page, path
        assert "\u202e" not in page or path == "fork/?seq=0", path


def test_a_gate_that_was_taken_over_says_so(api, make_gate, answer, worker, people):
    from engine.services import forking

    gate = make_gate()
    answer(gate, "bob", "approve")
    worker(gate.run)
    found = forking.fork(gate.run_id, by=people.carol, seq=1, effects="execute")
    while worker(found):
        pass
    copied = Gate.objects.get(run=found)
    page = api("bob").get(f"/gates/{copied.pk}/").content.decode()
    assert "taken over" in page and gate.run.short_id in page
