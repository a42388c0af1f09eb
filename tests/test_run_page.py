"""What stands above a run, its timeline's filters, its graph and its logs."""

import pytest
from django.db.models import F

from console.run_page import drawing, graph, header, situation, timeline
from console.run_page.outside import outside
from engine import outlook
from engine.services import controls, forking, workflow_holds
from runs.models import Run
from tests import flows
from tests.conftest import drive
from workflows import registry


def of(run):
    return situation.of(Run.objects.get(pk=run.pk))


def words(run):
    return {one.name: one.words for one in outside(Run.objects.get(pk=run.pk))}


@pytest.fixture
def page(client, people):
    client.force_login(people.alice)
    return lambda run, rest="": client.get(f"/runs/{run.pk}/{rest}")


def test_a_run_that_waits_says_for_whom_until_when_and_what_then(ask, people):
    from workflows import Policy

    gate = ask(Policy(approvers=["group:finance"], quorum=2, timeout="1h", on_timeout="reject"))
    actor = of(gate.run).actor
    assert (actor.kind, actor.words, actor.then) == ("people", "finance, 0 of 2 given", "rejected.")
    assert actor.until == gate.due_at


def test_a_run_at_work_needs_nobody_and_one_that_failed_an_operator(make_run, worker, people):
    flows.script["do"] = lambda state, ctx: 1 / 0
    failed = drive(worker, make_run("t-strict"))
    assert failed.status == "failed" and of(failed).actor.kind == "operator"
    run = make_run("t-line")
    assert of(run).actor.words.startswith("nobody, a worker takes it")
    controls.hold(run.pk, by=people.alice)
    assert "when it is released" in of(run).actor.words
    controls.cancel(run.pk, by=people.alice)
    assert of(run).actor == situation.Actor("nobody", "nobody, it was cancelled")


def test_a_run_held_with_its_workflow_needs_whoever_releases_that(make_run, people):
    run = make_run("t-line")
    workflow_holds.hold("t-line", by=people.alice)
    assert of(run).actor == situation.Actor("operator", "an operator: it goes on when t-line is released")


def test_a_retry_says_that_it_goes_on_by_itself_and_when(make_run, worker):
    flows.script["failures"] = 1
    run = make_run("t-flaky")
    worker(run)
    run.refresh_from_db()
    if run.is_put_off:
        assert of(run).actor.until == run.available_at


def test_what_happened_outside_is_told_per_effect(make_run, worker, people):
    run = make_run("t-effect")
    assert words(run) == {"act": "not yet"}
    done = drive(worker, run)
    assert words(done) == {"act": "happened"}
    cancelled = make_run("t-effect")
    controls.cancel(cancelled.pk, by=people.alice)
    assert words(cancelled) == {"act": "did not happen"}
    Run.objects.filter(pk=done.pk).update(status="queued", finished_at=None, step="act", doubt_at=F("created_at"))
    assert words(done) == {"act": "may have happened: nobody knows yet"}


def test_a_retry_is_foretold(make_run, worker):
    for _ in range(2):
        drive(worker, make_run("t-line"))
    run = drive(worker, make_run("t-line"))
    Run.objects.filter(pk=run.pk).update(
        status="failed", step="two", error={"type": "x", "message": "y", "step": "two", "attempt": 1}
    )
    run.refresh_from_db()
    text = outlook.of_retry(run)
    assert text.startswith("3 finished steps kept. two runs again with the same idempotency key.")
    assert "What is left usually takes" in text


@pytest.mark.parametrize(("show", "steps"), [
    ("failed", {"unsure"}), ("gates", set()), ("effects", set()), ("slow", {"unsure"}), ("", {"input", "unsure", "run"}),
])  # fmt: skip
def test_the_timeline_shows_what_is_asked_for(make_run, worker, show, steps):
    flows.script["failures"] = 1
    run = drive(worker, make_run("t-flaky"))
    assert {row.step for row in timeline.window(run, show=show).rows} == steps


def test_gates_and_effects_can_be_picked(make_gate, answer, worker, make_run):
    gate = make_gate()
    answer(gate, "bob", "approve")
    run = drive(worker, gate.run)
    assert {row.kind for row in timeline.window(run, show="gates").rows} == {"gate"}
    acted = drive(worker, make_run("t-effect"))
    assert {row.step for row in timeline.window(acted, show="effects").rows} == {"act"}


def test_a_long_run_opens_at_its_end_and_at_any_seq(make_run, worker, page):
    run = drive(worker, make_run("t-loop", until=450))
    newest = timeline.window(run)
    assert newest.earlier == run.seq - timeline.WINDOW + 1 and not newest.later
    around = timeline.window(run, at=100)
    assert around.rows[0].seq <= 100 <= around.rows[-1].seq and around.later
    found = page(run, "?at=100").content.decode()
    assert 'id="row-100"' in found and "The newest" in found
    for odd in ("?at=99999999999999999999", "?at=x", "?before=0", "?show=nonsense", f"?at={run.seq + 5}"):
        assert page(run, odd).status_code == 200


def test_the_graph_shows_the_way_and_counts_loops(make_run, worker, page):
    run = drive(worker, make_run("t-loop", until=5))
    found = graph.of_run(run)
    nodes = {node.box.name: node for node in found.nodes}
    assert (nodes["again"].count, nodes["again"].state, nodes["never"].state) == (5, "done", "")
    taken = {(edge.curve.start, edge.curve.end): edge.count for edge in found.edges if edge.count}
    assert taken == {("again", "again"): 4, ("again", "end"): 1}
    assert "again: done, 5 times" in page(run, "graph/").content.decode()


def test_every_workflow_here_can_be_drawn(db):
    for workflow in registry.all_newest():
        found = drawing.layout(workflow)
        assert {box.name for box in found.boxes} >= {*workflow.steps, *workflow.branches}
        assert all(box.left > -1 and box.left + box.width <= found.width + 1 for box in found.boxes)


def test_logs_are_narrowed_by_level_and_words(make_run, worker, page):
    run = drive(worker, make_run("t-line"))
    assert "in one" in page(run, "logs/").content.decode()
    assert "in one" not in page(run, "logs/?level=error").content.decode()
    assert "in one" in page(run, "logs/?q=IN+ONE").content.decode()
    assert "No line matches" in page(run, "logs/?q=<script>").content.decode()


def test_what_a_workflow_writes_is_text_everywhere(make_run, worker, people, page):
    evil = '<img src=x onerror=alert(1)>\u202e"'
    run = drive(worker, make_run("t-line"))
    controls.add_note(run.pk, by=people.alice, text=evil)
    Run.objects.filter(pk=run.pk).update(labels={evil: evil}, error={"type": evil, "message": evil, "step": evil, "attempt": 1})
    for rest in ("", "journal/", "graph/", "logs/", "?show=failed"):
        found = page(run, rest).content.decode()
        assert "<img src=x" not in found and "\u202e" not in found.split("<title>")[1]


def test_a_note_stands_above_the_run_with_its_author(make_run, people, page, client):
    run = make_run("t-line")
    client.post(f"/runs/{run.pk}/notes/", {"text": ""})
    assert page(run).content.decode().count("alice is on it") >= 2  # above it, and in its timeline
    controls.hold(run.pk, by=people.alice)
    assert "alice is on it" in page(run).content.decode().split('id="run-header"')[1].split('id="tail"')[0]


def test_nobody_outside_sees_any_of_it(make_run, client, people):
    run = make_run("t-line")
    client.force_login(people.mallory)
    for rest in ("", "journal/", "graph/", "logs/"):
        assert client.get(f"/runs/{run.pk}/{rest}").status_code == 404
    assert client.post(f"/runs/{run.pk}/notes/", {"text": "x"}).status_code == 404


def test_a_forks_page_says_from_where(make_run, worker, people, page):
    run = drive(worker, make_run("t-line"))
    fork = forking.fork(run.pk, by=people.carol, seq=0, changes={"amount": 7}, reason="a typing error")
    fork = fork[0] if isinstance(fork, tuple) else fork
    found = page(fork).content.decode()
    assert "Forked from" in found and "a typing error" in found


def test_the_run_page_asks_a_fixed_number_of_questions(make_run, worker, page, django_assert_max_num_queries):
    run = drive(worker, make_run("t-loop", until=150))
    with django_assert_max_num_queries(26):
        page(run)


def test_the_header_says_what_a_run_is_about_in_the_schemas_order_without_secrets_or_what_was_not_given():
    given = {"risk": 0.0, "account": "DE02", "bounces": True, "more": "x", "reason": "", "amount": 40, "order": "A-1"}
    assert header.given(Run(workflow="refund", version="1", input=given)) == [
        ("order", "A-1"),
        ("amount", 40),
        ("more", "x"),
    ]
    assert header.given(Run(workflow="nobody-knows-it", input={"b": 1, "a": "x"})) == [("b", 1), ("a", "x")]
    assert header.given(Run(workflow="refund", version="1", input=None)) == []
