"""Rolling back: what happened is undone in reverse, each once, and never skipped in silence."""

from typing import Any

import pytest

from approvals.models import Gate
from engine.services import controls, takeover
from runs.access import NotPermitted
from runs.models import Run
from runs.services.moves import MoveRefused
from tests import part_flows
from tests.conftest import die, kinds, new_lease
from tests.flows import calls, script
from workflows import Happened, NotHappened, Permanent

pytestmark = pytest.mark.django_db


def _undone(run):
    return [(event.step, event.as_entry()["detail"]) for event in run.events.filter(kind="compensated").order_by("seq")]


def test_a_run_that_has_succeeded_is_rolled_back_in_reverse(make_run, worker, people):
    run = make_run("t-saga", size=2)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    calls.clear()
    controls.roll_back(run.pk, by=people.carol, reason="wrong customer")
    run.refresh_from_db()
    assert (run.status, run.finished_at) == ("rolling_back", None)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"
    # each with the state of its own checkpoint: a branch's with its own updates alone
    assert calls == ["undo charge 121", "undo ship 11", "undo ship 11", "undo book 1"]
    assert [detail.get("branch") for _, detail in _undone(run)] == [None, 1, 0, None]
    assert _undone(run)[0][1]["result"] == {"voided": "charge"}
    ended = run.events.filter(kind="ended").order_by("-seq").first().as_entry()["detail"]
    assert ended == {"status": "rolled_back", "undone": 4, "left": ["mail"]}
    keys: Any = script["keys"]
    assert keys[-1][0] == script["effects"][0]
    assert len({key for pair in keys for key in pair}) == 8
    assert kinds(run)[-6:] == [
        "note end", "compensated charge", "compensated ship", "compensated ship", "compensated book", "ended",
    ]  # fmt: skip


def test_only_admins_roll_back_and_only_once(make_run, worker, people):
    run = make_run("t-saga", size=0)
    with pytest.raises(NotPermitted):
        controls.roll_back(run.pk, by=people.alice)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    with pytest.raises(MoveRefused):
        controls.roll_back(run.pk, by=people.carol)
    with pytest.raises(MoveRefused):
        controls.cancel(run.pk, by=people.carol)
    worker(run)
    with pytest.raises(MoveRefused):
        controls.roll_back(run.pk, by=people.carol)
    with pytest.raises(MoveRefused):
        controls.retry(run.pk, by=people.carol)


def test_a_workflow_may_have_its_failures_rolled_back(make_run, worker):
    run = make_run("t-undone")
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolling_back"
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.error["message"], calls) == ("rolled_back", "no stock", ["book", "undo book 1"])


def test_a_rejection_may_roll_back(make_run, worker, answer):
    run = make_run("t-saga", size=1, amount=5)
    worker(run)
    answer(Gate.objects.get(run=run), "bob", "reject", comment="too dear")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("rolled_back", "too dear")
    assert calls[-2:] == ["undo ship 11", "undo book 1"]


def test_a_running_run_is_rolled_back_after_its_step(make_run, worker, people):
    run = make_run("t-saga", size=3)

    def ask(state, ctx, arg):
        if arg == 1:
            controls.roll_back(run.pk, by=people.carol)

    script["ship"] = ask
    worker(run)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"
    assert calls == ["book", "ship 0", "ship 1", "undo ship 11", "undo ship 11", "undo book 1"]


@pytest.mark.parametrize(("said", "undone"), [(Happened({"total": 100}), ["undo charge 111", "undo ship 11", "undo book 1"]),
                                              (NotHappened(), ["undo ship 11", "undo book 1"])])  # fmt: skip
def test_an_effect_in_doubt_is_looked_up_first(make_run, worker, people, said, undone):
    def lose(state, ctx):
        controls.roll_back(run.pk, by=people.carol)
        raise RuntimeError("the reply was lost")

    run = make_run("t-saga", size=1)
    script["charge"], script["verify"] = lose, said
    worker(run)
    calls.clear()
    for _ in range(2):
        worker(run)
    run.refresh_from_db()
    assert (run.status, calls) == ("rolled_back", undone)
    assert "verified charge" in kinds(run)


@pytest.mark.parametrize("where", ["charge", "ship"])
def test_what_nobody_can_tell_opens_an_undo_gate(make_run, worker, people, answer, where):
    def lose(state, ctx, arg=0):
        controls.roll_back(run.pk, by=people.carol)
        raise RuntimeError("the reply was lost")

    run = make_run("t-saga", size=1)
    script[where] = lose
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    gate = Gate.objects.get(run=run)
    assert (run.status, gate.kind, gate.step) == ("waiting", "undo", where)
    assert gate.verdicts == ["retry", "done_by_hand", "fail"]
    assert "nobody can tell whether it happened" in gate.context["why"]
    answer(gate, "alice", "done_by_hand", comment="voided in the bank's console")
    run.refresh_from_db()
    assert run.status == "rolling_back"
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"
    by_hand = [detail for step, detail in _undone(run) if step == where and detail.get("by_hand")]
    assert by_hand[0]["comment"] == "voided in the bank's console"


@pytest.mark.parametrize("verdict", ["retry", "done_by_hand", "fail"])
def test_a_compensation_that_keeps_failing_asks_a_person(make_run, worker, people, answer, verdict):
    def broken(state, ctx):
        raise RuntimeError("the bank is closed")

    run = make_run("t-saga", size=0)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    script["undo charge"] = broken
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    gate = Gate.objects.get(run=run)
    assert (run.status, gate.kind) == ("waiting", "undo")
    assert gate.context["why"] == "RuntimeError: the bank is closed"
    assert calls.count("undo charge 101") == 2
    keys: Any = script["keys"]
    assert len(set(keys)) == 1  # each try with the same keys
    script.pop("undo charge")
    answer(gate, "alice", verdict, comment="seen to")
    worker(run)
    run.refresh_from_db()
    if verdict == "fail":
        assert (run.status, run.error["type"]) == ("failed", "NotUndone")
        with pytest.raises(MoveRefused):
            controls.retry(run.pk, by=people.alice)
        controls.roll_back(run.pk, by=people.carol)  # once more, from where it stopped
        worker(run)
        run.refresh_from_db()
    assert run.status == "rolled_back"
    assert calls.count("undo charge 101") == 2 + (verdict != "done_by_hand")
    assert calls[-1] == "undo book 1"


def test_a_roll_back_is_held_and_goes_on(make_run, worker, people):
    run = make_run("t-saga", size=0)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    controls.hold(run.pk, by=people.alice)
    run.refresh_from_db()
    assert run.status == "held"
    worker(run)
    assert "undo charge 101" not in calls
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"


def test_a_hold_in_a_compensation_stops_before_the_next(make_run, worker, people):
    run = make_run("t-saga", size=0)
    worker(run)
    script["undo charge"] = lambda state, ctx: controls.hold(run.pk, by=people.alice)
    controls.roll_back(run.pk, by=people.carol)
    worker(run)
    run.refresh_from_db()
    assert (run.status, [step for step, _ in _undone(run)]) == ("held", ["charge"])
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, calls.count("undo charge 101")) == ("rolled_back", 1)


def test_a_worker_lost_in_a_compensation_is_tried_again_and_then_asked_about(make_run, worker, people):
    def leave(state, ctx):
        raise KeyboardInterrupt

    run = make_run("t-saga", size=0)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    script["undo charge"] = leave
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            worker(run)
        key, held = new_lease()
        Run.objects.filter(pk=run.pk).update(worker=key)
        die(held)
        assert [takeover.take_over(*row) for row in takeover.lost(10) if row[0] == run.pk] == [True]
    run.refresh_from_db()
    assert (run.status, run.losses) == ("rolling_back", 3)
    worker(run)
    assert Gate.objects.get(run=run).context["why"] == "3 workers were lost while it was undone"


def test_rolling_back_withdraws_gates(make_run, worker, people):
    run = make_run("t-saga", size=0, amount=5)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    assert Gate.objects.get(run=run).status == "withdrawn"
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"


def test_an_effect_whose_result_the_schema_refuses_is_undone_too(make_run, worker, people):
    run = make_run("t-saga", size=0)
    script["verify"] = Happened({"total": "not a number"})
    original = part_flows.saga.steps["charge"].function
    object.__setattr__(part_flows.saga.steps["charge"], "function", lambda state, ctx: {"total": "x"})
    try:
        worker(run)
    finally:
        object.__setattr__(part_flows.saga.steps["charge"], "function", original)
    run.refresh_from_db()
    assert run.status == "failed"
    controls.roll_back(run.pk, by=people.carol)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"
    assert calls[-2:] == ["undo charge 1", "undo book 1"]


def test_permanent_is_not_tried_again(make_run, worker, people):
    def never(state, ctx):
        raise Permanent("it is too old to be voided")

    run = make_run("t-saga", size=0)
    worker(run)
    script["undo charge"] = never
    controls.roll_back(run.pk, by=people.carol)
    worker(run)
    assert calls.count("undo charge 101") == 1
    assert Gate.objects.get(run=run).kind == "undo"
