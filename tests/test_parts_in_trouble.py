"""What went wrong once, with parts: each was a run stuck for ever, an effect done twice, or one never undone."""

import pytest

from approvals.models import Gate
from engine import claim, sweeper
from engine.services import controls, settling, signals, takeover
from runs.clock import offset_for_tests
from runs.models import Branch, Run
from tests import part_flows, trouble_flows
from tests.conftest import die, new_lease
from tests.flows import calls, script
from workflows import Ask, Goto, Happened, NotHappened, Partly, Permanent, Policy, Proposal, Sleep, Unknown, registry
from workflows.errors import StepGone

pytestmark = pytest.mark.django_db


def lose(state, ctx, *arg):
    raise RuntimeError("the reply was lost")


@pytest.fixture
def alone(worker, quiet_bells):
    """``alone(run)``: time goes on, and only bells that were really rung reach a worker."""

    def live(run, rounds=8, start=0, step=10):
        try:
            for number in range(rounds):
                offset_for_tests(f"{start + number * step} seconds")
                for part in ("settle", "end_overdue", "fire_gates", "ring", "tell"):
                    getattr(sweeper.Sweeper(), part)()
                rung, quiet_bells[:] = list(quiet_bells), []
                for hint in rung:
                    worker(Run(pk=hint))
        finally:
            offset_for_tests("")
        run.refresh_from_db()
        return run

    return live


@pytest.fixture
def changed(monkeypatch):
    """``changed(step, field=value)`` for a registered step, until the test ends."""
    before = []

    def change(step, **fields):
        for name, value in fields.items():
            before.append((step, name, getattr(step, name)))
            object.__setattr__(step, name, value)

    yield change
    for step, name, value in reversed(before):
        object.__setattr__(step, name, value)


@pytest.mark.parametrize("when", ["in the step", "after it"])
def test_a_cancel_comes_to_its_end_although_a_branch_is_in_doubt(make_run, worker, people, alone, when):
    run = make_run("t-slow", size=1)

    def act(state, ctx, arg):
        if when == "in the step":
            controls.cancel(run.pk, by=people.alice)
        lose(state, ctx)

    script["pay"] = act
    worker(run)
    if when == "after it":
        controls.cancel(run.pk, by=people.alice)
    assert alone(run).status == "cancelled"


@pytest.mark.parametrize("gone", ["workflow", "step"])
def test_a_cancel_ends_although_nobody_can_look_the_doubt_up_any_more(make_run, worker, people, alone, monkeypatch, gone):
    run = make_run("t-slow", size=1)
    script["pay"] = lose
    worker(run)
    controls.cancel(run.pk, by=people.alice)
    tries = []

    def missing(*args):
        tries.append(1)
        assert len(tries) < 30, "it goes round and round"
        raise registry.WorkflowUnknown("gone") if gone == "workflow" else StepGone("gone")

    monkeypatch.setattr(*((registry, "version") if gone == "workflow" else (trouble_flows.slow, "current_name")), missing)
    run = alone(run)
    branch = Branch.objects.get(run=run)
    assert (run.status, branch.status, branch.error["type"]) == ("cancelled", "failed", "NotLookedUp")
    assert branch.doubt_at is not None


def test_a_hold_in_verify_fails_no_branch(make_run, worker, people):
    run = make_run("t-fan", size=1)
    script["part"], script["pay"] = lambda state, ctx, arg: Goto("pay_part"), lose

    def unknown(state, ctx):
        if not Run.objects.get(pk=run.pk).requested:
            controls.hold(run.pk, by=people.alice)
        return Unknown("?")

    script["verify"] = unknown
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert (run.status, Branch.objects.get(run=run).status) == ("held", "queued")


def test_a_sweeper_that_does_not_know_the_workflow_takes_an_effect_for_one(make_run, worker, people, monkeypatch):
    run = make_run("t-slow", size=1)
    key, held = new_lease()
    script["look"] = Happened({"found": ["seen"]})

    def leave(state, ctx, arg):
        raise KeyboardInterrupt

    script["pay"] = leave
    with pytest.raises(KeyboardInterrupt):
        worker(run)
    Branch.objects.filter(run=run).update(worker=key)
    die(held)

    def gone(name, version):
        raise registry.WorkflowUnknown("not deployed here")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "version", gone)
        assert [takeover.take_over(*row) for row in takeover.lost(10) if row[0] == run.pk] == [True]
    script.pop("pay")
    worker(run)
    assert calls == ["pay 0", "finished"]


def test_a_branch_that_circles_is_stopped_by_what_it_costs(make_run, worker):
    run = make_run("t-circling")
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.limit, calls.count("around")) == ("held", "max_cost_usd", 5)


def test_rolling_back_once_more_remembers_the_doubt(make_run, worker, people, answer):
    run = make_run("t-saga", size=0)

    def act(state, ctx):
        controls.roll_back(run.pk, by=people.carol)
        lose(state, ctx)

    script["charge"] = act
    for _ in range(3):
        worker(run)
    answer(Gate.objects.get(run=run), "alice", "fail")
    script["verify"] = Happened()
    controls.roll_back(run.pk, by=people.carol)
    for _ in range(2):
        worker(run)
    run.refresh_from_db()
    assert (run.status, calls[-2:]) == ("rolled_back", ["undo charge 1", "undo book 1"])


@pytest.mark.parametrize("error", [RuntimeError, Permanent])
def test_a_hold_in_a_compensation_that_fails_is_kept(make_run, worker, people, answer, error):
    run = make_run("t-saga", size=0)
    worker(run)
    controls.roll_back(run.pk, by=people.carol)

    def broken(state, ctx):
        controls.hold(run.pk, by=people.alice)
        raise error("closed")

    script["undo charge"] = broken
    worker(run)
    run.refresh_from_db()
    assert run.status == "held"
    script.pop("undo charge")
    if error is Permanent:
        answer(Gate.objects.get(run=run), "alice", "retry")
        worker(run)
        assert "undo book 1" not in calls
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"


def test_an_effect_that_the_workflow_no_longer_has_is_not_passed_over(make_run, worker, people, monkeypatch):
    run = make_run("t-saga", size=0)
    worker(run)
    with monkeypatch.context() as patch:
        patch.delitem(part_flows.saga.steps, "charge")
        controls.roll_back(run.pk, by=people.carol)
        worker(run)
    run.refresh_from_db()
    assert run.status == "held"
    assert "'charge' is gone" in run.reason
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, "undo charge 101" in calls) == ("rolled_back", True)


@pytest.mark.parametrize("said", [NotHappened(), Unknown("?")])
def test_a_refused_result_has_happened_whatever_verify_says(make_run, worker, people, changed, said):
    run = make_run("t-saga", size=0)
    script["verify"] = said
    changed(part_flows.saga.steps["charge"], function=lambda state, ctx: {"total": "x"})
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    worker(run)
    run.refresh_from_db()
    assert (run.status, calls[-2:]) == ("rolled_back", ["undo charge 1", "undo book 1"])


def test_an_effect_that_was_renamed_meanwhile_is_undone_by_its_own_key(make_run, worker, people, changed):
    run = make_run("t-saga", size=0)
    changed(part_flows.saga.steps["book"], was=("old_book",))
    Run.objects.filter(pk=run.pk).update(step="old_book")
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    worker(run)
    keys, effects = script["keys"], script["effects"]
    assert keys[-1][0] == effects[0]


@pytest.mark.parametrize("parts", [False, True])
def test_a_rejection_of_a_held_run_undoes_nothing_until_it_is_released(make_run, worker, people, answer, parts):
    policy = Policy(approvers=["user:bob"])
    script["part"] = lambda state, ctx, arg: Ask(Proposal("?"), policy=policy, on_reject="roll_back")
    run = make_run("t-fan", size=1) if parts else make_run("t-saga", size=0, amount=5)
    worker(run)
    controls.hold(run.pk, by=people.alice)
    answer(Gate.objects.get(run=run), "bob", "reject")
    worker(run)
    run.refresh_from_db()
    assert (run.status, [call for call in calls if "undo" in call]) == ("held", [])
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "rolled_back"


def test_a_retry_after_the_deadline_goes_on_waiting(make_run, worker, people):
    run = make_run("t-late")
    worker(run)
    offset_for_tests("2 hours")
    try:
        sweeper.Sweeper().end_overdue()
        controls.retry(run.pk, by=people.alice)
        for _ in range(2):
            worker(run)
    finally:
        offset_for_tests("")
    run.refresh_from_db()
    assert (run.status, run.signal_name, calls) == ("queued", "delivered", ["order"])


def test_an_effect_that_waits_has_happened_and_is_in_no_doubt(make_run, worker, people):
    """Its worker is lost as the wait times out, and the run is to be cancelled: it is checkpointed once."""
    run = make_run("t-late")
    worker(run)
    Run.objects.filter(pk=run.pk).update(available_at="2020-01-01T00:00Z")
    assert claim.take_hinted(run.pk, 77)
    assert takeover.take_over(run.pk, 77, Run.objects.get(pk=run.pk).claim)
    controls.cancel(run.pk, by=people.alice)
    worker(run)
    assert run.checkpoints.filter(step="order").count() == 1


def test_what_finished_branches_have_cost_is_told_while_the_run_waits(make_run, worker, people, alone):
    script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    run = alone(run, rounds=2)
    assert (run.status, float(run.cost_usd), run.events.filter(kind="branch").count()) == ("waiting", 0.02, 1)
    controls.cancel(run.pk, by=people.alice)
    run.refresh_from_db()
    assert float(run.cost_usd) == 0.03


def test_what_unfinished_branches_have_cost_is_told_at_the_end(make_run, worker, people, django_capture_on_commit_callbacks):
    script["part"] = lambda state, ctx, arg: Sleep("1h", goto="further")
    run = make_run("t-fan", size=2)
    worker(run)
    with django_capture_on_commit_callbacks(execute=True):
        controls.cancel(run.pk, by=people.alice)
    run.refresh_from_db()
    assert (run.status, float(run.cost_usd)) == ("cancelled", 0.02)


def test_a_branch_whose_gate_failed_is_asked_again_and_not_run_again(make_run, worker, people, answer, alone):
    policy = Policy(approvers=["user:bob"], timeout="1h", on_timeout="fail")
    script["part"] = lambda state, ctx, arg: Ask(Proposal("?"), policy=policy, goto="further", updates={"total": 7})
    run = make_run("t-fan", size=1)
    worker(run)
    assert alone(run, rounds=2, start=4000).status == "failed"
    controls.retry(run.pk, by=people.alice)
    worker(run)
    gate = Gate.objects.get(run=run)
    assert (gate.status, gate.version) == ("open", 2)
    answer(gate, "bob", "approve")
    worker(run)
    run.refresh_from_db()
    values = run.checkpoints.order_by("-seq").first().values()
    assert (run.status, values["total"], calls.count("part 0")) == ("succeeded", 7, 1)


def test_a_step_reads_its_branches_and_its_signal_again_after_a_retry_with_changes(make_run, worker, people):
    run = make_run("t-mixed")
    worker(run)
    controls.retry(run.pk, by=people.alice, changes={"amount": 3})
    worker(run)
    signals.send(run.pk, by=people.alice, name="heard", payload=7)
    worker(run)
    controls.retry(run.pk, by=people.alice, changes={"amount": 4})
    worker(run)
    assert calls == ["join 2", "join 2", "signal 7", "signal 7"]


def test_a_roll_back_or_another_fan_out_is_something_else_that_is_due(make_run, worker, people):
    run = make_run("t-saga", size=0)
    worker(run)
    assert not claim.others_due()
    controls.roll_back(run.pk, by=people.carol)
    assert claim.others_due()


def test_a_join_that_was_poison_has_all_its_tries_again(make_run, worker, people, monkeypatch):
    run = make_run("t-fan", size=1)
    real = claim.take_hinted
    with monkeypatch.context() as patch:
        before_join = lambda run_id, key: real(run_id, key) if Run.objects.get(pk=run_id).fan_out_id is None else None  # noqa: E731
        patch.setattr(claim, "take_hinted", before_join)
        worker(run)

    def one_loss():
        key, held = new_lease()
        assert claim.take_hinted(run.pk, key)
        die(held)
        assert any(takeover.take_over(*row) for row in takeover.lost(10) if row[0] == run.pk)
        run.refresh_from_db()

    for _ in range(3):
        one_loss()
    assert (run.status, run.error["type"]) == ("failed", "Poison")
    controls.retry(run.pk, by=people.alice)
    one_loss()
    assert run.status == "queued"


@pytest.mark.parametrize("leads", [{"on_reject": "join"}, {"goto": "nowhere"}, {"verdicts": ["approve", "respond"]}])
def test_where_an_ask_leads_is_checked_when_it_asks(make_run, worker, leads):
    script["part"] = lambda state, ctx, arg: Ask(Proposal("?"), policy=Policy(approvers=["user:bob"]), **leads)
    run = make_run("t-fan", size=1)
    worker(run)
    run.refresh_from_db()
    assert (run.status, Gate.objects.filter(run=run).exists()) == ("failed", False)
    assert "is no step that it can lead to" in run.error["message"]


def test_a_limit_that_was_taken_back_raises_nothing_later(make_run, worker, people):
    def act(state, ctx, arg):
        Run.objects.filter(pk=run.pk).update(requested="hold", reason="…", limit="max_steps")  # as a branch asks for it
        controls.release(run.pk, by=people.alice)

    script["part"] = act
    run = make_run("t-fan", size=2)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.limit) == ("succeeded", "")


def test_a_withdrawn_outcome_gate_is_asked_again_after_a_retry(make_run, worker, people, answer):
    script["part"], script["pay"] = lambda state, ctx, arg: Goto("pay_part"), lose
    run = make_run("t-fan", size=1)
    for _ in range(2):
        worker(run)
    gate = Gate.objects.get(run=run)
    Run.objects.filter(pk=run.pk).update(deadline_at="2020-01-01T00:00Z")
    sweeper.Sweeper().end_overdue()
    controls.retry(run.pk, by=people.alice)
    gate.refresh_from_db()
    assert (gate.kind, gate.status) == ("outcome", "open")
    script.pop("pay")
    answer(gate, "alice", "not_happened")
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_branch_that_never_asked_is_run_again_after_a_retry(make_run, worker, people):
    """It has kept a part under the visit that then failed."""
    script["part"] = lambda state, ctx, arg: Goto("pay_part")
    script["verify"] = Partly({"found": ["half"]})

    mishaps: list[Exception] = [RuntimeError("the reply was lost"), Permanent("no more")]

    def act(state, ctx, arg):
        if mishaps:
            raise mishaps.pop(0)

    script["pay"] = act
    run = make_run("t-fan", size=1)
    for _ in range(2):
        worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert run.checkpoints.order_by("-seq").first().values()["found"] == ["half", "paid 0"]


def test_a_compensation_that_fails_once_does_not_make_the_effect_doubtful(make_run, worker, people, changed):
    run = make_run("t-saga", size=0)
    changed(part_flows.saga.steps["charge"], function=lambda state, ctx: {"total": "x"})
    script["verify"] = NotHappened()
    tries = []

    def broken(state, ctx):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("closed")

    script["undo charge"] = broken
    worker(run)
    controls.roll_back(run.pk, by=people.carol)
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert (run.status, len(tries)) == ("rolled_back", 2)


def test_settling_leaves_a_roll_back_at_its_undo_gate_alone(make_run, worker, people):
    script["part"] = lambda state, ctx, arg: Goto("pay_part") if arg else Sleep("1h")
    script["pay"] = lose
    run = make_run("t-fan", size=2)
    for _ in range(2):
        worker(run)
    controls.roll_back(run.pk, by=people.carol)
    for _ in range(2):
        worker(run)
    assert Gate.objects.filter(run=run).open().get().kind == "undo"
    assert not settling.settle(run.pk)
    assert Run.objects.get(pk=run.pk).status == "waiting"


def test_an_answer_that_fails_a_held_run_undoes_nothing_until_it_is_released(make_run, worker, people, answer, monkeypatch):
    monkeypatch.setattr(part_flows.saga, "on_failure", "roll_back")
    script["charge"] = lose
    run = make_run("t-saga", size=0)
    for _ in range(2):
        worker(run)
    controls.hold(run.pk, by=people.alice)
    script["verify"] = NotHappened()
    answer(Gate.objects.get(run=run), "alice", "fail")
    worker(run)
    run.refresh_from_db()
    assert (run.status, "undo book 1" in calls) == ("held", False)
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, calls[-1]) == ("rolled_back", "undo book 1")


def test_a_branch_in_doubt_whose_step_is_gone_is_not_passed_over(make_run, worker, people, monkeypatch):
    run = make_run("t-saga", size=1)

    def act(state, ctx, arg):
        controls.roll_back(run.pk, by=people.carol)
        lose(state, ctx)

    script["ship"] = act
    worker(run)
    monkeypatch.delitem(part_flows.saga.branches, "ship")
    worker(run)
    run.refresh_from_db()
    assert (run.status, "undo book 1" in calls) == ("held", False)
