"""What operators do to a live run, and to a whole workflow."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections, transaction

from checkpoints import packing
from engine import boundary, claim, endings
from engine.services import controls, deadlines, takeover, workflow_holds
from engine.services.starting import InputInvalid
from engine.sweeper import Sweeper
from runs.clock import Now
from runs.models import Run, WorkflowHold
from runs.services.moves import MoveRefused
from tests import flows
from tests.conftest import die, in_the_way, kinds, new_lease
from tests.test_engine_races import commit, taken

pytestmark = pytest.mark.django_db


def fresh(run):
    return Run.objects.get(pk=run.pk)


def test_a_breakpoint_holds_the_run_before_that_step_once(make_run, worker, people):
    run = make_run()
    controls.set_breakpoint(run.pk, by=people.alice, step="two")
    worker(run)
    found = fresh(run)
    assert (found.status, found.step, found.breakpoints, flows.calls) == ("held", "two", [], ["one"])
    assert "breakpoint before two" in found.reason
    controls.release(run.pk, by=people.alice)
    worker(run)
    assert (fresh(run).status, flows.calls) == ("succeeded", ["one", "two", "three"])


def test_a_breakpoint_at_the_step_that_is_due_holds_at_once(make_run, worker, people):
    run = make_run()
    controls.set_breakpoint(run.pk, by=people.alice, step="one")
    worker(run)
    assert (fresh(run).status, flows.calls) == ("held", [])


def test_a_breakpoint_after_a_gate_holds_after_the_decision(make_gate, worker, people, answer):
    gate = make_gate()
    controls.set_breakpoint(gate.run_id, by=people.alice, step="pay")
    answer(gate, "bob", "approve")
    worker(gate.run)
    assert (fresh(gate.run).status, fresh(gate.run).step, flows.calls) == ("held", "pay", ["prepare"])


def test_a_breakpoint_is_taken_back_and_names_a_step(make_run, worker, people):
    run = make_run()
    with pytest.raises(InputInvalid, match="one of one, two, three"):
        controls.set_breakpoint(run.pk, by=people.alice, step="four")
    controls.set_breakpoint(run.pk, by=people.alice, step="two")
    controls.clear_breakpoint(run.pk, by=people.alice, step="two")
    worker(run)
    assert fresh(run).status == "succeeded"
    with pytest.raises(MoveRefused):
        controls.set_breakpoint(run.pk, by=people.alice, step="two")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["breakpoint", "workflow"])
def test_what_commits_while_the_boundary_waits_is_seen(make_run, people, what):
    """The boundary is sent, and waits for the row; the hold commits; the next step does not start."""
    run = make_run()
    mine = taken(run)

    def hold():
        if what == "breakpoint":
            controls.set_breakpoint(run.pk, by=people.alice, step="two")
        else:
            controls.add_note(run.pk, by=people.alice, text="locks the row")
            workflow_holds.hold("t-line", by=people.alice)

    with in_the_way(hold):
        assert commit(mine) is False
    assert (fresh(run).step, fresh(run).step_started_at) == ("two", None)


def test_a_held_workflow_starts_no_step_and_goes_on_when_released(make_run, worker, people, quiet_bells, monkeypatch):
    run, other = make_run(), make_run("t-flaky")
    workflow_holds.hold("t-line", by=people.alice, reason="the bank is down")
    assert worker(run)  # the hint is passed over; the other workflow's run is taken
    assert (fresh(run).status, fresh(run).claim, fresh(other).status) == ("queued", 0, "succeeded")
    assert not worker()
    quiet_bells.clear()
    Sweeper().ring()
    assert quiet_bells == []
    workflow_holds.release("t-line", by=people.alice)
    assert worker(run)
    assert fresh(run).status == "succeeded"


def test_a_workflow_held_in_mid_run_stops_it_at_the_next_boundary(make_run, worker, people, monkeypatch):
    run = make_run()
    step = flows.line.steps["one"]

    def hold(state, ctx):
        workflow_holds.hold("t-line", by=people.alice)
        return {"n": 7}

    monkeypatch.setitem(flows.line.steps, "one", type(step)(**{**step.__dict__, "function": hold}))
    worker(run)
    found = fresh(run)
    assert (found.status, found.step, found.worker, found.is_held_with_workflow) == ("queued", "two", None, True)
    assert found.checkpoints.latest("seq").values()["n"] == 7
    workflow_holds.release("t-line", by=people.alice)
    worker(run)
    assert fresh(run).status == "succeeded"


def test_a_workflow_is_held_once_and_by_operators(people):
    workflow_holds.hold("t-line", by=people.alice)
    with pytest.raises(workflow_holds.HoldRefused):
        workflow_holds.hold("t-line", by=people.carol)
    workflow_holds.release("t-line", by=people.carol)
    with pytest.raises(workflow_holds.HoldRefused):
        workflow_holds.release("t-line", by=people.carol)
    row = WorkflowHold.objects.get()
    assert (row.by, row.released_by) == ("alice", "carol")


def test_a_control_on_a_run_that_has_gone_on_is_refused(make_run, worker, people):
    run = make_run("t-gated", amount=400)
    seen = fresh(run).seq
    worker(run)
    with pytest.raises(controls.RunMovedOn, match="you saw seq 0"):
        controls.cancel(run.pk, by=people.alice, seq=seen)
    assert fresh(run).status == "waiting"
    controls.cancel(run.pk, by=people.alice, seq=fresh(run).seq)
    assert fresh(run).status == "cancelled"


def test_a_held_run_is_released_with_a_changed_state(make_run, worker, people):
    run = make_run("t-loop", until=9)
    controls.hold(run.pk, by=people.alice)
    with pytest.raises(InputInvalid, match=r"changes\.until"):
        controls.release(run.pk, by=people.alice, changes={"until": "many"})
    assert fresh(run).status == "held"
    controls.release(run.pk, by=people.alice, changes={"until": 2})
    worker(run)
    assert fresh(run).checkpoints.latest("seq").values()["n"] == 2


def test_a_state_behind_a_gate_is_not_changed_by_a_release(make_gate, people):
    gate = make_gate()
    controls.hold(gate.run_id, by=people.alice)
    with pytest.raises(InputInvalid, match="people are asked"):
        controls.release(gate.run_id, by=people.alice, changes={"amount": 1})


def test_an_overdue_run_that_waits_is_ended_and_its_gate_withdrawn(make_run, worker):
    run = make_run("t-hurried", amount=1)
    worker(run)
    assert not deadlines.end_overdue(run.pk)
    Run.objects.filter(pk=run.pk).update(deadline_at=Now())
    assert Sweeper().end_overdue() == 1
    found = fresh(run)
    assert (found.status, found.error["type"]) == ("failed", "DeadlinePassed")
    assert found.gates.get().status == "withdrawn"


def test_no_step_starts_after_the_deadline(make_run, worker, people):
    run = make_run("t-hurried")
    Run.objects.filter(pk=run.pk).update(deadline_at=Now())
    worker(run)
    assert (fresh(run).status, flows.calls) == ("failed", [])
    controls.retry(run.pk, by=people.alice)  # an operator's retry starts the clock anew
    worker(run)
    assert (fresh(run).status, flows.calls) == ("succeeded", ["act", "rest"])


def test_an_effect_in_doubt_is_learned_of_before_the_deadline_ends_the_run(make_run, worker):
    flows.script["verify"] = "happened"
    run = make_run("t-hurried")
    key, held = new_lease()
    Run.objects.filter(pk=run.pk).update(
        status="running", worker=key, claim=7, step="hurry", step_started_at=Now(), deadline_at=Now()
    )
    die(held)
    assert takeover.take_over(run.pk, key, 7)
    assert Sweeper().end_overdue() == 0
    worker(run)
    assert (fresh(run).status, flows.calls) == ("failed", ["verify"])
    assert kinds(run)[-3:] == ["checkpoint hurry", "attempt_failed rest", "ended rest"]


def test_what_resuming_saved_is_summed_per_resume(make_run, people):
    run = make_run()
    key, held = new_lease()
    found = claim.take_hinted(run.pk, key)
    assert found is not None
    packed_usage = boundary.Used(10, 5, 3, ())
    since = packing.Since(version=1)
    packed = packing.pack(
        run.pk, flows.Counter, found[0], None, since, next_step="two", step="one", usage=packed_usage.as_json()
    )
    boundary.commit(found[0], packed, used=packed_usage)
    die(held)
    assert takeover.take_over(run.pk, key, 1)
    first = fresh(run)
    assert (first.saved_tokens, first.saved_cost_usd) == (15, 3)
    assert first.saved_seconds > 0
    entry = first.events.get(kind="worker_lost").as_entry()
    assert entry["detail"]["saved"]["tokens"] == 15


def test_a_database_that_took_the_worker_along_is_not_the_steps_fault(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr(takeover, "_up_since", lambda: datetime.now(UTC) + timedelta(hours=1))
    for claim_ in range(5):
        key, held = new_lease()
        Run.objects.filter(pk=run.pk).update(status="running", worker=key, claim=claim_, step_started_at=Now())
        die(held)
        assert takeover.take_over(run.pk, key, claim_)
    assert (fresh(run).status, fresh(run).losses, fresh(run).attempt) == ("queued", 0, 6)


@pytest.mark.django_db(transaction=True)
def test_a_hold_waits_for_the_boundary_that_has_asked_already(make_run, people):
    """The boundary has seen no hold and is about to commit: the hold commits after it, and the step had started before."""
    run = make_run()
    mine = taken(run)

    def hold():
        workflow_holds.hold("t-line", by=people.alice)
        connections.close_all()

    thread = threading.Thread(target=hold)
    with transaction.atomic():
        commit(mine)
        thread.start()
        thread.join(0.5)
        assert not WorkflowHold.objects.exists()
    thread.join()
    assert mine.started_at is not None and WorkflowHold.objects.exists()


def test_requests_that_cross_are_not_lost(make_run, people):
    """A hold that is taken back holds nothing; a cancel comes before a breakpoint and before a hold of Holdfast's own."""
    back, at_breakpoint, held = make_run(), make_run(), make_run()
    mine = taken(back)
    controls.hold(back.pk, by=people.alice)
    commit(mine)
    controls.release(back.pk, by=people.alice)
    endings.honour(mine)
    assert fresh(back).status == "queued"
    controls.set_breakpoint(at_breakpoint.pk, by=people.alice, step="two")
    mine = taken(at_breakpoint)
    commit(mine)
    controls.cancel(at_breakpoint.pk, by=people.alice)
    endings.stop_at_breakpoint(mine)
    assert fresh(at_breakpoint).status == "cancelled"
    mine = taken(held)
    controls.cancel(held.pk, by=people.alice)
    endings.hold(mine, "its step is gone")
    assert fresh(held).status == "cancelled"
