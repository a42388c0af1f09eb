"""What is in doubt is settled first: before an approval, a change, a request, a deadline, a new key."""

import os
import signal
import threading
from dataclasses import replace
from typing import Annotated

import pytest
from django.conf import settings
from django.db import connection

from engine import claim, tasks, timelimit
from engine.services import controls, takeover, workflow_holds
from engine.services.starting import InputInvalid
from runs import hot
from runs.clock import Now
from runs.models import Run
from tests import flows
from tests.conftest import die, new_lease
from tests.flows import Counter, Pay
from workflows import (
    Ambiguous,
    Happened,
    NotHappened,
    Partly,
    Policy,
    Proposal,
    Retry,
    Secret,
    State,
    Unknown,
    Workflow,
    registry,
)  # fmt: skip

pytestmark = pytest.mark.django_db(transaction=True)
TRIES = Retry(attempts=3, backoff=0)


@pytest.fixture
def made():
    """A workflow for one test, with an effect that is in doubt after its first attempt; ``did`` tells what was called."""
    did: list[str] = []
    names: list[str] = []

    def make(verify, *, gate=False, state=Counter, result=None, **options):
        workflow = Workflow(f"t-doubt-{len(names)}", state=state, version="1")
        names.append(workflow.name)
        if gate:
            workflow.gate(name="boss", policy=Policy(approvers=["group:finance"]))(
                lambda state: Proposal("Pay?", action=Pay(amount=state.amount))
            )
            options["approved_by"] = "boss"

        @workflow.effect(**{"verify": lambda state, ctx: [did.append("verify"), verify(state, ctx)][1], "settle": 0,
                            "retry": TRIES, **options})  # fmt: skip
        def act(state, ctx):
            did.append(f"act {ctx.idempotency_key}")
            if len([one for one in did if one.startswith("act")]) == 1 and not options.get("confirm"):
                ctx.save({"sent": 4})
                raise Ambiguous("no reply")
            return result

        return workflow.name

    make.did = did  # type: ignore[attr-defined]
    yield make
    for name in names:
        registry.forget(name)


def fresh(run):
    return Run.objects.get(pk=run.pk)


def acts(made):
    return [one for one in made.did if one.startswith("act")]


def test_an_effect_in_doubt_is_not_sent_to_its_gate_and_forgotten(made, make_run, worker, people, answer):
    run = make_run(made(lambda state, ctx: Unknown(), gate=True, on_unknown="fail"), amount=400)
    worker(run)
    answer(run.gates.get(), "bob", "approve")
    worker(run)
    worker(run)
    assert (fresh(run).status, made.did[-1]) == ("failed", "verify")
    with pytest.raises(InputInvalid, match="nobody knows yet"):  # verify would look with another amount
        controls.retry(run.pk, by=people.alice, changes={"amount": 300})
    controls.retry(run.pk, by=people.alice)
    worker(run)
    assert (fresh(run).status, len(acts(made)), made.did[-1]) == ("failed", 1, "verify")


def test_a_settled_failure_with_changed_inputs_is_a_new_visit_with_a_new_key(make_run, worker, people):
    flows.script["act"] = flows.permanent
    run = make_run("t-effect")
    worker(run)
    controls.retry(run.pk, by=people.alice, changes={"amount": 3})
    worker(run)
    assert fresh(run).status == "succeeded"
    assert len({call for call in flows.calls if call.startswith("act")}) == 2


def test_what_a_visit_saved_is_there_after_somebody_said_that_it_did_not_happen(make_run, worker, answer, made):
    seen = []
    name = made(lambda state, ctx: [seen.append(ctx.saved), Unknown()][1])
    run = make_run(name)
    worker(run)
    worker(run)
    answer(run.gates.get(), "alice", "not_happened")
    assert (seen, fresh(run).saved) == ([{"sent": 4}], {"sent": 4})


def test_looking_first_and_finding_a_part_goes_on_with_the_rest(made, make_run, worker):
    run = make_run(made(lambda state, ctx: Partly({"log": ["half"]}), check_first=True))
    for _ in range(4):
        worker(run)
    assert len(acts(made)) >= 1


@pytest.mark.parametrize("answer_", [NotHappened(), Partly({"n": 1})])
@pytest.mark.parametrize("what", ["cancel", "workflow", "breakpoint"])
def test_what_was_asked_while_verify_ran_counts_before_the_next_attempt(made, make_run, worker, people, what, answer_):
    def verify(state, ctx):
        if what == "cancel":
            controls.cancel(ctx.run_id, by=people.alice)
        elif what == "workflow":
            workflow_holds.hold(name, by=people.alice)
        else:
            controls.set_breakpoint(ctx.run_id, by=people.alice, step="act")
        return answer_

    name = made(verify)
    run = make_run(name)
    for _ in range(3):
        worker(run)
    assert (len(acts(made)), fresh(run).status) == (
        1,
        {"cancel": "cancelled", "workflow": "queued", "breakpoint": "held"}[what],
    )


def test_a_cancel_waits_until_the_answer_can_be_believed(made, make_run, worker, people):
    def verify(state, ctx):
        if made.did.count("verify") == 1:
            controls.cancel(ctx.run_id, by=people.alice)
        return NotHappened() if made.did.count("verify") == 1 else Happened({"answer": "late"})

    run = make_run(made(verify, settle=60))
    worker(run)
    Run.objects.filter(pk=run.pk).update(available_at=Now())
    worker(run)
    assert (fresh(run).status, fresh(run).requested) == ("queued", "cancel")
    Run.objects.filter(pk=run.pk).update(available_at=Now())
    worker(run)
    assert (fresh(run).status, fresh(run).checkpoints.latest("seq").values()["answer"]) == ("cancelled", "late")


def test_workers_that_die_while_learning_are_poison_too(make_run):
    run = make_run("t-hurried")
    Run.objects.filter(pk=run.pk).update(step="hurry", deadline_at=Now(), doubt_at=Now())
    for _ in range(3):
        key, held = new_lease()
        found = claim.take_hinted(run.pk, key)
        die(held)
        assert found is not None and takeover.take_over(run.pk, key, found[0].claim)
    assert (fresh(run).status, fresh(run).error["type"]) == ("failed", "Poison")


def test_a_stop_while_it_is_being_confirmed_is_no_lost_worker(made, make_run, worker, settings):
    settings.HOLDFAST_GRACE = 0
    run = make_run(made(lambda state, ctx: NotHappened(), confirm=True, settle=8))
    before = signal.getsignal(signal.SIGTERM)
    timelimit.hear_sigterm()
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    try:
        worker(run)
    finally:
        timelimit._stopping = False
        signal.signal(signal.SIGTERM, before)
    assert (fresh(run).status, fresh(run).losses, fresh(run).doubt_at is not None) == ("queued", 0, True)


def test_a_secret_that_an_effect_returned_is_not_in_the_journal(made, make_run, worker):
    class Keeper(State):
        token: Annotated[str, Secret] = ""

    run = make_run(made(lambda state, ctx: NotHappened(), confirm=True, state=Keeper, result={"token": "s3cret"}))
    worker(run)
    assert run.events.filter(kind="attempt_failed").exists()
    assert not any("s3cret" in event.detail for event in run.events.all())


def test_a_claim_reads_the_state_as_of_the_claim(make_run, people, monkeypatch):
    """A note comes between the claim and the reading: the history is not broken by it."""
    run, (key, held) = make_run(), new_lease()
    real = hot.rows

    def later(statement, values):
        monkeypatch.setattr(hot, "rows", real)
        controls.add_note(run.pk, by=people.alice, text="in between")
        return real(statement, values)

    monkeypatch.setattr(hot, "one", lambda statement, values: [real(statement, values)[0],
                                                                     monkeypatch.setattr(hot, "rows", later)][0])  # fmt: skip
    _, loaded = claim.take_oldest(key)
    die(held)
    assert not isinstance(loaded, Exception)


def test_a_transaction_that_a_step_leaves_open_fails_the_step(made, make_run, worker, monkeypatch):
    step = replace(flows.line.steps["one"], function=lambda state: connection.connection.execute("BEGIN") and None)
    monkeypatch.setitem(flows.line.steps, "one", step)
    run = make_run()
    worker(run)
    assert (fresh(run).status, fresh(run).error["type"]) == ("failed", "TransactionLeftOpen")


def test_a_renamed_step_is_held_by_either_name(make_run, worker, people, monkeypatch):
    renamed = {"uno": replace(flows.line.steps["one"], name="uno", was=("one",)), "two": flows.line.steps["two"]}
    by_old, by_new = make_run(), make_run()
    controls.set_breakpoint(by_old.pk, by=people.alice, step="one")
    monkeypatch.setattr(flows.line, "steps", renamed)
    controls.set_breakpoint(by_new.pk, by=people.alice, step="uno")
    worker(by_old)
    worker(by_new)
    assert (fresh(by_old).status, fresh(by_new).status, flows.calls) == ("held", "held", [])


def test_a_renamed_step_keeps_its_visits_key(made, make_run, worker, monkeypatch):
    name = made(lambda state, ctx: NotHappened())
    run = make_run(name)
    worker(run)
    workflow = registry.newest(name)
    monkeypatch.setattr(workflow, "steps", {"done": replace(workflow.steps["act"], name="done", was=("act",))})
    worker(run)
    assert (fresh(run).status, len(acts(made)), len(set(acts(made)))) == ("succeeded", 2, 1)


def test_a_worker_without_a_way_to_the_database_ends(make_run, monkeypatch, worker):
    """It has claimed, and cannot tell anybody: its lease must not outlive it."""
    import psycopg
    from django.db.backends.postgresql.base import DatabaseWrapper

    def refuse(self, parameters):
        raise psycopg.OperationalError("too many clients")

    def cut(state):
        connection.close()
        monkeypatch.setattr(DatabaseWrapper, "get_new_connection", refuse)

    ended: list[int] = []
    monkeypatch.setitem(flows.line.steps, "one", replace(flows.line.steps["one"], function=cut))
    monkeypatch.setattr(os, "_exit", ended.append)
    run = make_run()
    with monkeypatch.context():
        tasks.advance(str(run.pk))
    monkeypatch.undo()
    assert ended


def test_counting_never_costs_a_run(make_run, worker, client):
    away = settings.HOLDFAST_METRICS_DIR.with_name("away")
    settings.HOLDFAST_METRICS_DIR.rename(away)
    try:
        run = make_run()
        worker(run)
        assert fresh(run).status == "succeeded"
        assert client.get("/metrics").status_code == 200
    finally:
        away.rename(settings.HOLDFAST_METRICS_DIR)  # whole: the counts of this process are other tests' too


def test_an_async_step_may_save_and_read_decisions(make_run, worker, monkeypatch):
    async def save(state, ctx):
        ctx.save({"a": 1})
        return {"answer": str(len(ctx.decisions))}

    monkeypatch.setitem(flows.line.steps, "two", replace(flows.line.steps["two"], function=save))
    run = make_run()
    worker(run)
    assert fresh(run).status == "succeeded"


@pytest.mark.parametrize("error", ["CancelledError", "SystemExit"])
def test_what_would_end_the_process_fails_the_step(make_run, worker, monkeypatch, error):
    import asyncio

    async def leave(state):
        raise {"CancelledError": asyncio.CancelledError, "SystemExit": SystemExit}[error]("scripted")

    step = replace(flows.line.steps["one"], function=leave, retry=Retry(attempts=1))
    monkeypatch.setitem(flows.line.steps, "one", step)
    run = make_run()
    worker(run)
    assert (fresh(run).status, fresh(run).error["type"]) == ("failed", error)
