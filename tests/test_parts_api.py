"""Branches, signals and roll back over HTTP, and on their pages."""

import pytest

from approvals.models import Gate
from engine.services import controls
from runs.models import Run
from tests import part_flows
from tests.flows import script
from workflows import Wait

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_(client, people):
    def sign_in(name):
        client.force_login(people[name])
        return client

    return sign_in


@pytest.fixture
def fanned(make_run, worker):
    """A failed fan-out of five, of which branch 3 has failed and branch 1 waits for bob."""

    def act(state, ctx, arg):
        if arg == 3:
            raise ValueError("<b>not</b> there")
        return part_flows.ask_in_branch(state, ctx, arg)

    script["part"] = act
    run = make_run("t-fan", size=5, collect=True)
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    return run


def post(client, path, body):
    return client.post(path, body, content_type="application/json")


def test_a_run_tells_how_its_branches_stand(as_, fanned):
    found = as_("dave").get(f"/api/runs/{fanned.pk}").json()
    assert found["status"] == "waiting"
    assert found["branches"] == {"of": 5, "queued": 0, "running": 0, "waiting": 1, "succeeded": 3, "failed": 1}
    listed = as_("dave").get("/api/runs").json()["items"][0]
    assert listed["branches"] == found["branches"]


def test_branches_come_by_index_in_pages_and_by_status(as_, fanned):
    path = f"/api/runs/{fanned.pk}/branches"
    first = as_("dave").get(path, {"limit": 2}).json()
    assert ([one["index"] for one in first["items"]], first["next"]) == ([0, 1], 1)
    rest = as_("dave").get(path, {"limit": 200, "after": first["next"]}).json()
    assert ([one["index"] for one in rest["items"]], rest["next"]) == ([2, 3, 4], None)
    failed = as_("dave").get(path, {"status": "failed"}).json()["items"]
    assert [(one["index"], one["arg"], one["error"]["message"]) for one in failed] == [(3, 3, "<b>not</b> there")]
    assert first["items"][0]["changed"]["found"] == {"added": 1}
    assert (first["items"][0]["steps"], first["items"][1]["status"]) == (["part"], "waiting")
    assert "state" not in str(first["items"][0].keys())


@pytest.mark.parametrize("wrong", [{"status": "odd"}, {"limit": 201}, {"limit": 0}, {"after": "x"}, {"fan_out": "x"}])
def test_a_malformed_question_about_branches_names_the_field(as_, fanned, wrong):
    answer = as_("dave").get(f"/api/runs/{fanned.pk}/branches", wrong)
    assert answer.status_code == 422
    assert next(iter(wrong)) in answer.content.decode()


def test_branches_of_a_run_without_any_and_of_nobodys_run(as_, make_run):
    run = make_run("t-line")
    assert as_("dave").get(f"/api/runs/{run.pk}/branches").json() == {"items": [], "next": None}
    assert as_("mallory").get(f"/api/runs/{run.pk}/branches").status_code == 404


def test_a_gate_says_which_branch_it_is_about(as_, fanned):
    gate = Gate.objects.get(run=fanned)
    assert as_("bob").get(f"/api/gates/{gate.pk}").json()["branch"] == 1
    page = as_("bob").get(f"/gates/{gate.pk}/").content.decode()
    assert "Branch 1 of 5, given" in page
    assert "This branch ends without a result. The others go on." in page
    assert "“further” runs next" in page


def test_the_page_of_branches_escapes_what_they_say(as_, fanned):
    page = as_("dave").get(f"/runs/{fanned.pk}/branches/").content.decode()
    assert "&lt;b&gt;not&lt;/b&gt; there" in page
    assert "<b>not</b>" not in page
    only = as_("dave").get(f"/runs/{fanned.pk}/branches/?status=failed", headers={"HX-Request": "true"}).content.decode()
    assert only.count('class="branch"') == 1
    assert "<html" not in only
    assert as_("mallory").get(f"/runs/{fanned.pk}/branches/").status_code == 404
    assert as_("dave").get(f"/runs/{fanned.pk}/branches/?fan_out=999&after=x").status_code == 200


def test_lists_ask_twice_for_all_fan_outs(as_, make_run, worker, django_assert_max_num_queries):
    script["part"] = lambda state, ctx, arg: Wait("never")
    for _ in range(5):
        worker(make_run("t-fan", size=2))
    client = as_("dave")
    client.get("/api/runs")
    with django_assert_max_num_queries(8):
        assert len(client.get("/api/runs").json()["items"]) == 5
    with django_assert_max_num_queries(12):
        assert client.get("/runs/").content.decode().count("0 of 2") == 5


def test_signals_over_http(as_, make_run, worker):
    run = make_run("t-wait", size=0)
    worker(run)
    path = f"/api/runs/{run.pk}/signals"
    assert as_("alice").get(f"/api/runs/{run.pk}").json()["waits_for"] == "go"
    assert as_("alice").get(f"/api/runs/{run.pk}").json()["available_at"] is None
    assert post(as_("dave"), path, {"name": "go"}).status_code == 403
    assert post(as_("mallory"), path, {"name": "go"}).status_code == 404
    assert post(as_("alice"), path, {"name": ""}).status_code == 422
    assert post(as_("alice"), path, {"payload": 1}).status_code == 422
    assert as_("alice").get(path).status_code == 405
    answer = post(as_("alice"), path, {"name": "go", "payload": {"n": 1}})
    assert (answer.status_code, answer.json()["waits_for"]) == (202, None)
    worker(run)
    refused = post(as_("alice"), path, {"name": "go"})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "wrong-status")


def test_roll_back_over_http(as_, make_run, worker):
    run = make_run("t-saga", size=0)
    path = f"/api/runs/{run.pk}/roll-back"
    worker(run)
    assert post(as_("alice"), path, {}).status_code == 403
    assert post(as_("mallory"), path, {}).status_code == 404
    assert post(as_("carol"), path, {"seq": 1}).status_code == 409
    assert post(as_("carol"), path, {"reason": "x" * 2001}).status_code == 422
    answer = post(as_("carol"), path, {"reason": "wrong"})
    assert (answer.status_code, answer.json()["status"], answer.json()["rolling_back"]) == (202, "rolling_back", True)
    assert post(as_("carol"), path, {}).status_code == 409
    assert post(as_("carol"), f"/api/runs/{run.pk}/retry", {}).status_code == 409
    worker(run)
    assert as_("dave").get(f"/api/runs/{run.pk}").json()["status"] == "rolled_back"


def test_the_button_is_for_admins_and_the_undo_gate_for_operators(as_, make_run, worker, people):
    def broken(state, ctx):
        raise RuntimeError("closed")

    run = make_run("t-saga", size=0)
    worker(run)
    assert "Roll back" not in as_("alice").get(f"/runs/{run.pk}/controls/").content.decode()
    page = as_("carol").get(f"/runs/{run.pk}/controls/").content.decode()
    assert "1 × book, 1 × charge will be undone" in page
    assert "Nobody can undo 1 × mail" in page
    answer = as_("carol").post(f"/runs/{run.pk}/controls/roll-back/", {"reason": "no", "seq": run.seq + 100})
    assert answer.status_code == 302
    script["undo charge"] = broken
    for _ in range(3):
        worker(run)
    gate = Gate.objects.get(run=run)
    page = as_("alice").get(f"/gates/{gate.pk}/").content.decode()
    assert "Undoing “charge” did not succeed" in page
    assert "I have undone it by hand" in page
    assert "RuntimeError: closed" in page
    assert "I have undone it by hand" not in as_("bob").get(f"/gates/{gate.pk}/").content.decode()
    form = {"verdict": "done_by_hand", "comment": "rang them", "version": gate.version, "proposal_hash": gate.proposal_hash}
    assert as_("alice").post(f"/gates/{gate.pk}/decisions/", form).status_code == 302
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "rolled_back"
    assert as_("dave").get(f"/runs/{run.pk}/").status_code == 200


def test_a_signal_by_hand(as_, make_run, worker):
    run = make_run("t-wait", size=0)
    worker(run)
    assert "signal-dialog" in as_("alice").get(f"/runs/{run.pk}/controls/").content.decode()
    wrong = as_("alice").post(f"/runs/{run.pk}/signals/", {"name": "go", "payload": "{"})
    assert (wrong.status_code, "Nothing was sent" in wrong.content.decode()) == (422, True)
    assert as_("dave").post(f"/runs/{run.pk}/signals/", {"name": "go"}).status_code == 403
    assert as_("alice").get(f"/runs/{run.pk}/signals/").status_code == 302
    assert as_("alice").post(f"/runs/{run.pk}/signals/", {"name": "go", "payload": '{"a": 1}'}).status_code == 302
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "succeeded"


def test_changes_are_refused_while_branches_see_the_state(as_, make_run, worker, people):
    script["part"] = lambda state, ctx, arg: Wait("never")
    run = make_run("t-fan", size=2)
    worker(run)
    controls.hold(run.pk, by=people.alice)
    worker(run)
    Run.objects.get(pk=run.pk)
    answer = post(as_("alice"), f"/api/runs/{run.pk}/release", {"changes": {"amount": 3}})
    assert (answer.status_code, "branches" in answer.content.decode()) == (422, True)
    assert post(as_("alice"), f"/api/runs/{run.pk}/release", {}).status_code == 202


def test_an_undo_gate_of_a_branchs_effect_has_a_page(as_, make_run, worker, people):
    def broken(state, ctx):
        raise RuntimeError("closed")

    run = make_run("t-saga", size=2)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    script["undo ship"] = broken
    for _ in range(3):
        worker(run)
    gate = Gate.objects.get(run=run)
    page = as_("alice").get(f"/gates/{gate.pk}/")
    assert (page.status_code, "in branch 1" in page.content.decode()) == (200, True)
    assert as_("alice").get(f"/api/gates/{gate.pk}").json()["branch"] == 1
    assert "branch 1" in as_("alice").get("/gates/").content.decode()
    assert "undone so far" in as_("alice").get(f"/runs/{run.pk}/").content.decode()


def test_an_error_in_a_part_of_a_page_is_no_page_in_the_page(as_, make_run, monkeypatch):
    run = make_run("t-line")
    client = as_("alice")
    client.raise_request_exception = False
    monkeypatch.setattr("runs.branches.fan_out_of", lambda *args: 1 / 0)
    answer = client.get(f"/runs/{run.pk}/branches/", headers={"HX-Request": "true"})
    assert (answer.status_code, "<html" in answer.content.decode()) == (500, False)
