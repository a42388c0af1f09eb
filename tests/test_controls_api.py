"""Controls over HTTP and on pages: holds, breakpoints, notes, changes; what Prometheus and the logs are told."""

import json
import logging

import pytest
from django.test import Client

from holdfast import logs
from runs.clock import Now
from runs.models import Run, WorkflowHold
from tests import flows
from tests.test_api import api, problem  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(people):
    def enter(name: str) -> Client:
        client = Client()
        client.force_login(people[name])
        return client

    return enter


def test_a_workflow_is_held_and_released_over_http(api, make_run, worker):  # noqa: F811
    alice, run = api("alice"), make_run()
    held = alice.post("/api/workflows/t-line/hold", {"reason": "the bank is down"})
    assert (held.status_code, held.json()["held"]["reason"], held.json()["held"]["by"]) == (202, "the bank is down", "alice")
    problem(alice.post("/api/workflows/t-line/hold", {}), 409, "wrong-status")
    problem(api("dave").post("/api/workflows/t-line/release", {}), 403, "not-permitted")
    problem(alice.post("/api/workflows/nope/hold", {}), 404, "unknown-workflow")
    assert (
        "reason" in problem(alice.post("/api/workflows/t-line/release", {"reason": "x" * 3000}), 422, "invalid-state")["errors"]
    )
    assert alice.get(f"/api/runs/{run.pk}").json()["workflow_held"] is True
    assert [item["workflow_held"] for item in alice.get("/api/runs").json()["items"]] == [True]
    assert alice.post("/api/workflows/t-line/release", {}).json()["held"] is None
    worker(run)
    totals = alice.get("/api/workflows/t-line").json()["totals"]
    assert (totals["runs"], totals["by_status"], totals["usage"]["cost_usd"]) == (1, {"succeeded": 1}, 0.01)


def test_breakpoints_over_http(api, make_run, worker):  # noqa: F811
    alice, run = api("alice"), make_run()
    assert alice.post(f"/api/runs/{run.pk}/breakpoints", {"step": "two"}).json()["breakpoints"] == ["two"]
    bad = problem(alice.post(f"/api/runs/{run.pk}/breakpoints", {"step": "nope"}), 422, "invalid-state")
    assert "one of one, two, three" in bad["errors"]["step"]
    problem(api("dave").post(f"/api/runs/{run.pk}/breakpoints", {"step": "two"}), 403, "not-permitted")
    problem(api("mallory").post(f"/api/runs/{run.pk}/breakpoints", {"step": "two"}), 404, "not-found")
    worker(run)
    assert alice.get(f"/api/runs/{run.pk}").json()["status"] == "held"
    cleared = alice.client.delete(f"/api/runs/{run.pk}/breakpoints/two")
    assert (cleared.status_code, cleared.json()["breakpoints"]) == (202, [])


def test_a_note_is_journalled_whatever_the_status(api, make_run, worker):  # noqa: F811
    run = make_run()
    worker(run)
    assert api("alice").post(f"/api/runs/{run.pk}/notes", {"text": "looked at it"}).status_code == 202
    last = api("dave").get(f"/api/runs/{run.pk}/journal", kind="note").json()["items"][-1]
    assert (last["by"], last["detail"]["text"]) == ("alice", "looked at it")
    assert api("alice").post(f"/api/runs/{run.pk}/notes", {"text": ""}).status_code == 422
    problem(api("dave").post(f"/api/runs/{run.pk}/notes", {"text": "x"}), 403, "not-permitted")


def test_a_control_names_what_it_saw(api, make_run, worker):  # noqa: F811
    run = make_run("t-gated", amount=400)
    worker(run)
    refused = api("alice").post(f"/api/runs/{run.pk}/cancel", {"seq": 0})
    assert "you saw seq 0" in problem(refused, 409, "wrong-status")["detail"]


def test_a_failed_run_is_tried_again_with_changes_from_its_page(page, make_run, worker):
    flows.script["do"] = lambda state, ctx: {"answer": 5} if state.n == 0 else {"answer": "fine"}
    run = make_run("t-strict", answer="old")
    worker(run)
    alice, address = page("alice"), f"/runs/{run.pk}/changes/"
    shown = alice.get(address).content.decode()
    assert 'name="field-n"' in shown and "Retry with these changes" in shown
    seq = Run.objects.get(pk=run.pk).seq
    typed = {"n": "1", "total": "0", "log": "[]", "until": "3", "amount": "0", "answer": ""}
    given: dict[str, object] = {f"field-{name}": value for name, value in typed.items()}
    given |= {"seq": seq, "reason": "typed wrongly"}
    assert alice.post(address, {**given, "field-n": "many"}).status_code == 422
    emptied = alice.post(address, {**given, "field-until": ""})
    assert emptied.status_code == 422 and b"valid integer" in emptied.content  # said, and not passed over
    assert alice.post(address, {**given, "seq": seq - 1}).status_code == 409
    assert Run.objects.get(pk=run.pk).status == "failed"
    assert alice.post(address, given).status_code == 302
    retried = Run.objects.get(pk=run.pk).events.get(kind="retried").as_entry()
    assert retried["detail"]["changed"] == ["answer", "n"]  # what was emptied counts as changed
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "succeeded"
    assert page("dave").get(address).status_code == 403
    assert page("mallory").get(address).status_code == 404


def test_a_workflow_is_held_from_its_page_and_every_page_says_so(page):
    alice = page("alice")
    assert alice.post("/workflows/t-line/hold/", {"move": "hold", "reason": "<b>why</b>"}).status_code == 302
    for path in ("/workflows/", "/runs/", "/gates/"):
        shown = alice.get(path).content.decode()
        assert "t-line is held" in shown and "&lt;b&gt;why" in shown and "<b>why" not in shown
    assert alice.post("/workflows/t-line/hold/", {"move": "hold"}).status_code == 409
    assert page("dave").post("/workflows/t-line/hold/", {"move": "release"}).status_code == 403
    assert alice.post("/workflows/t-line/hold/", {"move": "explode"}).status_code == 404
    assert alice.post("/workflows/t-line/hold/", {"move": "release"}).status_code == 302
    assert WorkflowHold.objects.get().released_by == "alice"


def test_an_outcome_gate_shows_what_is_known_and_takes_what_was_returned(page, make_run, worker):
    from tests.test_effects import lose

    run = make_run("t-effect", amount=7)
    Run.objects.filter(pk=run.pk).update(saved={"sent": "POST /things"})
    lose(run)
    worker(run)
    gate = run.gates.get()
    alice, address = page("alice"), f"/gates/{gate.pk}/"
    shown = alice.get(address).content.decode()
    for text in ("Did “act” happen?", "its worker was lost", gate.context["key"], "POST /things", "no idea", "It happened",
                 "It did not: run it again", "Fail the run"):  # fmt: skip
        assert text in shown
    seen = {"version": gate.version, "proposal_hash": gate.proposal_hash}
    assert alice.post(address + "decisions/", {"verdict": "happened", "field-total": "many", **seen}).status_code == 422
    assert alice.post(address + "decisions/", {"verdict": "happened", "field-answer": "r-9", **seen}).status_code == 302
    Run.objects.filter(pk=run.pk).update(available_at=Now())  # the seconds to take it back are over
    worker(run)
    assert Run.objects.get(pk=run.pk).checkpoints.get(step="act").values()["answer"] == "r-9"


def test_what_needs_kept_from_a_step_is_said(api, make_run, worker):  # noqa: F811
    flows.script["do"] = lambda state, ctx: {"answer": "x"}
    run = make_run("t-strict", log=["y" * 1000])
    worker(run)
    found = api("dave").get(f"/api/runs/{run.pk}/checkpoints/1").json()
    assert found["saw"] == ["n"]
    assert found["spared_bytes"] > 1000


def test_prometheus_reads_runs_steps_and_lags(make_run, worker, make_gate):
    run = make_run()
    worker(run)
    make_gate()
    text = Client().get("/metrics").content.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['holdfast_runs{status="succeeded",workflow="t-line"}']) == 1
    assert float(lines['holdfast_open_gates{kind="approval"}']) == 1
    assert float(lines['holdfast_steps_total{step="two",workflow="t-line"}']) >= 1
    assert float(lines['holdfast_attempts_total{outcome="done",step="two",workflow="t-line"}']) >= 1
    assert lines["holdfast_database_up"] == "1.0"
    for name in ("holdfast_queue_lag_seconds", "holdfast_gate_age_seconds", "holdfast_attempt_seconds_bucket"):
        assert name in text


def test_every_attempt_says_when_it_began_and_ended(make_run, worker, caplog):
    run = make_run()
    with caplog.at_level(logging.INFO, "holdfast.run"):
        worker(run)
    said = [record.msg for record in caplog.records if record.name == "holdfast.run"]
    assert [line["event"] for line in said] == ["attempt began", "attempt ended"] * 3
    assert said[1] | {"duration": 0, "timestamp": 0} == {
        "event": "attempt ended", "run_id": str(run.pk), "workflow": "t-line", "step": "one", "attempt": 1, "seq": 1,
        "outcome": "done", "duration": 0, "level": "info", "logger": "holdfast.run", "timestamp": 0,
    }  # fmt: skip


def test_log_lines_are_json_where_that_is_wanted(capsys):
    config = logs.logging_config("json")
    formatter = config["formatters"]["line"]
    made = formatter["()"](foreign_pre_chain=formatter["foreign_pre_chain"], processors=formatter["processors"])
    record = logging.LogRecord("celery", logging.WARNING, "file.py", 1, "bell %s", ("lost",), None)
    line = json.loads(made.format(record))
    assert (line["event"], line["level"], line["logger"]) == ("bell lost", "warning", "celery")
