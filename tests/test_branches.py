"""Fan-out and fan-in: each branch durable by itself, and the join once."""

import pytest

from approvals.models import Gate
from engine import sweeper
from engine.services import controls, takeover
from runs.clock import offset_for_tests
from runs.models import Branch, Run
from tests import part_flows
from tests.conftest import die, kinds, new_lease
from tests.flows import calls, script
from workflows import End, Goto, Happened, NotHappened, Permanent, Send, Sleep

pytestmark = pytest.mark.django_db


def test_every_branch_runs_and_the_join_reads_them_in_order(make_run, worker):
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert calls == ["split", "part 0", "part 1", "part 2", "join"]
    values = run.checkpoints.order_by("-seq").first().values()
    assert values["found"] == ["r0", "r1", "r2"]
    assert (values["total"], values["by_index"]) == (3, {"0": 1, "1": 1, "2": 1})
    assert values["summary"] == "3 results; 0+,1+,2+"
    assert kinds(run) == [
        "checkpoint", "checkpoint split", "fan_out split", "branch split", "checkpoint part", "checkpoint join", "ended",
    ]  # fmt: skip
    told = run.events.get(kind="branch").as_entry()["detail"]
    assert (told["done"], told["of"], told["failed"]) == (3, 3, 0)
    assert (run.input_tokens, float(run.cost_usd)) == (3, 0.03)


def test_an_empty_fan_out_goes_right_to_its_join(make_run, worker):
    run = make_run("t-fan", size=0)
    worker(run)
    run.refresh_from_db()
    assert (run.status, calls) == ("succeeded", ["split", "join"])


def test_a_failed_branch_fails_the_run_and_is_retried_alone(make_run, worker, people):
    script["part"] = part_flows.failing(1)
    run = make_run("t-fan", size=3)
    for _ in range(4):
        worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert run.error["branch"] == 1
    assert run.error["message"] == "branch 1: part 1 is not there"
    done = set(Branch.objects.filter(run=run, status="succeeded").values_list("index", flat=True))
    assert done <= {0, 2}
    script.clear()
    calls.clear()
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert calls == [*(f"part {index}" for index in sorted({0, 1, 2} - done)), "join"] or calls[-1] == "join"
    assert calls.count("part 1") == 1
    assert not {f"part {index}" for index in done} & set(calls)
    values = run.checkpoints.order_by("-seq").first().values()
    assert values["found"] == ["r0", "r1", "r2"]
    assert run.input_tokens == 5  # two failed attempts of branch 1 are paid for as well


def test_collect_hands_the_failures_to_the_join(make_run, worker):
    script["part"] = part_flows.failing(1)
    run = make_run("t-fan", size=3, collect=True)
    for _ in range(4):
        worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert run.checkpoints.order_by("-seq").first().values()["summary"] == "2 results; 0+,1-,2+"


def test_two_branches_that_set_the_same_plain_field_are_named(make_run, worker):
    script["part"] = lambda state, ctx, arg: {"best": str(arg)} if arg else None
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "best: branches 1 and 2 both set it" in run.error["message"]


def test_a_branch_goes_on_with_goto_and_sees_its_own_updates_alone(make_run, worker):
    script["part"] = lambda state, ctx, arg: Goto("further", found=[f"own {arg}"], total=arg)
    run = make_run("t-fan", size=2)
    worker(run)
    run.refresh_from_db()
    assert calls == ["split", "part 0", "further 0 ['own 0'] 0", "part 1", "further 1 ['own 1'] 1", "join"]
    assert run.checkpoints.order_by("-seq").first().values()["found"] == ["own 0", "further 0", "own 1", "further 1"]


@pytest.mark.parametrize("answered", [End(), [Send("part", 1)], Goto("join"), Goto("nowhere"), {"nothing": 1}, {"total": "x"}])
def test_what_a_branch_must_not_return_fails_it_by_name(make_run, worker, answered):
    script["part"] = lambda state, ctx, arg: answered if arg else None
    run = make_run("t-fan", size=2)
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert run.error["branch"] == 1


def test_a_send_to_no_branch_step_is_named(make_run, worker, monkeypatch):
    monkeypatch.setitem(part_flows.fan.branches, "part", part_flows.fan.branches["part"])
    run = make_run("t-fan", size=1)
    monkeypatch.delitem(part_flows.fan.branches, "part")
    worker(run)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "no such branch step; known are further, pay_part" in run.error["message"]


def test_a_gate_pauses_its_branch_alone(make_run, worker, answer):
    script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    assert run.status == "waiting"
    assert dict(Branch.objects.values_list("index", "status")) == {0: "succeeded", 1: "waiting", 2: "succeeded"}
    gate = Gate.objects.get(run=run)
    assert gate.branch.index == 1
    answer(gate, "bob", "approve")
    run.refresh_from_db()
    assert run.status == "running"
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert "further 1 [] 7" in calls
    assert calls.count("part 1") == 1


def test_a_rejection_in_a_branch_rejects_the_run_or_is_collected(make_run, worker, answer):
    script["part"] = part_flows.ask_in_branch
    run, tolerant = make_run("t-fan", size=2), make_run("t-fan", size=2, collect=True)
    for one in (run, tolerant):
        worker(one)
        answer(Gate.objects.get(run=one), "bob", "reject", comment="no")
        worker(one)
        one.refresh_from_db()
    assert (run.status, tolerant.status) == ("rejected", "succeeded")
    assert tolerant.checkpoints.order_by("-seq").first().values()["summary"] == "1 results; 0+,1-"


def test_an_effect_in_a_branch_is_verified_and_keeps_its_key(make_run, worker):
    script["part"] = lambda state, ctx, arg: Goto("pay_part")
    script["verify"] = NotHappened()

    def lose_once(state, ctx, arg):
        if arg == 1 and ctx.attempt == 1:
            raise RuntimeError("the reply was lost")

    script["pay"] = lose_once
    run = make_run("t-fan", size=2)
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    paid = [call for call in calls if call.startswith("pay ")]
    assert len(paid) == 3
    assert len({call.split()[2] for call in paid if call.startswith("pay 1")}) == 1
    assert len({call.split()[2] for call in paid}) == 2
    assert "verified pay_part" in kinds(run)


@pytest.mark.parametrize(("verdict", "times"), [("happened", 1), ("not_happened", 2)])
def test_nobody_can_tell_so_an_operator_is_asked_about_that_branch(make_run, worker, answer, verdict, times):
    script["part"] = lambda state, ctx, arg: Goto("pay_part")

    def lose_once(state, ctx, arg):
        if ctx.attempt == 1:
            raise RuntimeError("the reply was lost")

    script["pay"] = lose_once
    run = make_run("t-fan", size=1)
    for _ in range(2):
        worker(run)
    gate = Gate.objects.get(run=run)
    assert (gate.kind, gate.context["branch"], gate.context["arg"]) == ("outcome", 0, 0)
    extra = {"args": {"found": ["by hand"]}} if verdict == "happened" else {}
    answer(gate, "alice", verdict, **extra)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert sum(call.startswith("pay 0") for call in calls) == times


def test_a_lost_worker_costs_its_branch_an_attempt_and_nothing_else(make_run, worker, monkeypatch):
    run = make_run("t-fan", size=3)
    key, held = new_lease()

    def leave(state, ctx, arg):
        if arg == 1 and ctx.attempt == 1:
            raise KeyboardInterrupt

    script["part"] = leave
    with pytest.raises(KeyboardInterrupt):
        worker(run)
    branch = Branch.objects.get(run=run, index=1)
    assert branch.status == "running"
    Branch.objects.filter(pk=branch.pk).update(worker=key)
    die(held)
    lost = [row for row in takeover.lost(10) if row[3] == branch.pk]
    assert [takeover.take_over(*row) for row in lost + lost] == [True, False]
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert [call for call in calls if call != "part 1"] == ["split", "part 0", "part 2", "join"] or calls.count("part 0") == 1
    assert run.checkpoints.order_by("-seq").first().values()["by_index"] == {"0": 1, "1": 2, "2": 1}
    assert "worker_lost part" in kinds(run)


@pytest.mark.parametrize("asked", ["hold", "cancel"])
def test_hold_and_cancel_reach_all_branches(make_run, worker, people, asked, django_capture_on_commit_callbacks):
    run = make_run("t-fan", size=5)

    def ask(state, ctx, arg):
        if arg == 2:
            getattr(controls, asked)(run.pk, by=people.alice)

    script["part"] = ask
    worker(run)
    run.refresh_from_db()
    assert run.status == {"hold": "held", "cancel": "cancelled"}[asked]
    assert Branch.objects.filter(run=run, status="succeeded").count() == 3  # the one in its step was finished
    assert calls[-1] == "part 2"
    if asked == "hold":
        controls.release(run.pk, by=people.alice)
        worker(run)
        run.refresh_from_db()
        assert (run.status, calls.count("join")) == ("succeeded", 1)


def test_a_run_between_two_branches_is_cancelled_at_once(make_run, worker, people, django_capture_on_commit_callbacks):
    script["part"] = lambda state, ctx, arg: Sleep("1h", goto="further")
    run = make_run("t-fan", size=2)
    worker(run)
    run.refresh_from_db()
    assert run.status == "running"  # its branches go on by themselves
    with django_capture_on_commit_callbacks(execute=True):
        controls.cancel(run.pk, by=people.alice)
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_branches_sleep_and_go_on(make_run, worker):
    script["part"] = lambda state, ctx, arg: Sleep("1h", goto="further", updates={"found": ["slept"]})
    run = make_run("t-fan", size=2)
    worker(run)
    assert sweeper.Sweeper().ring() == 0
    offset_for_tests("1 hour 1 second")
    try:
        assert sweeper.Sweeper().ring() >= 1
        worker(run)
    finally:
        offset_for_tests("")
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_max_parallel_is_a_matter_of_the_database(make_run, worker):
    """Two branches cannot be in one slot, and no slot is beyond max_parallel."""
    most = []

    def count(state, ctx, arg):
        most.append(Branch.objects.filter(run=run, status="running").count())
        slots = Branch.objects.filter(run=run, slot__isnull=False).values_list("slot", flat=True)
        assert all(slot == 0 for slot in slots)

    script["part"] = count
    run = make_run("t-fan", size=3, parallel=1)
    worker(run)
    run.refresh_from_db()
    assert (run.status, max(most)) == ("succeeded", 1)


def test_the_sweeper_joins_what_nobody_joined(make_run, worker, monkeypatch):
    from engine.services import settling

    run = make_run("t-fan", size=2)
    with monkeypatch.context() as patch:
        patch.setattr(settling, "settle", lambda run_id: False)
        worker(run)
    run.refresh_from_db()
    assert run.status == "running"
    sweeper.Sweeper().settle()
    run.refresh_from_db()
    assert run.status == "queued"


def test_progress_is_told_in_batches(make_run, worker):
    def sweep(state, ctx, arg):
        if arg == 2:
            assert sweeper.Sweeper().tell() == 1
            assert sweeper.Sweeper().tell() == 0

    script["part"] = sweep
    run = make_run("t-fan", size=4)
    worker(run)
    told = [event.as_entry()["detail"] for event in run.events.filter(kind="branch").order_by("seq")]
    assert [(one["done"], one["new"], one["of"]) for one in told] == [(2, 2, 4), (4, 2, 4)]
    run.refresh_from_db()
    assert run.input_tokens == 4


def test_gates_of_siblings_are_asked_again_when_a_failed_fan_out_is_retried(make_run, worker, people, answer):
    def act(state, ctx, arg):
        if arg == 2:
            raise Permanent("broken")
        return part_flows.ask_in_branch(state, ctx, arg)

    script["part"] = act
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    gate = Gate.objects.get(run=run)
    assert (run.status, gate.status) == ("failed", "withdrawn")
    script["part"] = part_flows.ask_in_branch
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    gate.refresh_from_db()
    assert (run.status, gate.status, calls.count("part 1")) == ("waiting", "open", 1)
    answer(gate, "bob", "approve")
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_cancel_waits_for_an_effect_in_doubt(make_run, worker, people):
    script["part"] = lambda state, ctx, arg: Goto("pay_part")
    script["verify"] = Happened({"found": ["it was paid"]})

    def lose(state, ctx, arg):
        controls.cancel(run.pk, by=people.alice)
        raise RuntimeError("the reply was lost")

    script["pay"] = lose
    run = make_run("t-fan", size=3)
    for _ in range(3):
        worker(run)
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert "verified pay_part" in kinds(run)
    assert Branch.objects.get(run=run, index=0).done[-1]["join"] == {"found": ["it was paid"]}


def test_ten_thousand_branches_are_one_statement(make_run, worker, django_assert_max_num_queries, monkeypatch):
    from engine import branches

    monkeypatch.setattr(branches, "carry", lambda run_id, key: False)
    run = make_run("t-fan", size=10_000)
    with django_assert_max_num_queries(40):
        worker(run)
    assert Branch.objects.filter(run=run).count() == 10_000


def test_ten_thousand_and_one_are_too_many(make_run, worker):
    run = make_run("t-fan", size=10_001)
    worker(run)
    run.refresh_from_db()
    assert "at most 10000 were expected" in str(run.events.filter(kind="attempt_failed").first().detail)


def test_a_doubt_in_a_run_that_is_to_be_cancelled_is_rung_for(make_run, worker, people, quiet_bells, settling_takes):
    """Nobody but the sweeper would ever come back to it: the answer is too early to be believed."""
    script["part"] = lambda state, ctx, arg: Goto("pay_part")
    script["verify"] = NotHappened()
    settling_takes(5.0)

    def lose(state, ctx, arg):
        controls.cancel(run.pk, by=people.alice)
        raise RuntimeError("the reply was lost")

    script["pay"] = lose
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.requested) == ("running", "cancel")
    quiet_bells.clear()
    offset_for_tests("6 seconds")
    try:
        sweeper.Sweeper().ring()
        assert quiet_bells == [run.pk]
        worker()
    finally:
        offset_for_tests("")
    run.refresh_from_db()
    assert run.status == "cancelled"
    branch = Branch.objects.get(run=run, index=0)
    assert (branch.status, branch.error["type"], branch.doubt_at) == ("failed", "Cancelled", None)


@pytest.fixture
def settling_takes(monkeypatch):
    """The branch effect's ``settle``, in seconds."""
    step = part_flows.fan.branches["pay_part"]
    yield lambda seconds: object.__setattr__(step, "settle", seconds)
    object.__setattr__(step, "settle", 0.0)


def test_a_hold_asked_for_while_an_outcome_gate_opens_keeps_the_branch(make_run, worker, people, answer, monkeypatch):
    from engine import effects

    script["part"] = lambda state, ctx, arg: Goto("pay_part")
    run = make_run("t-fan", size=1)
    real = effects.outcome_question

    def asked_to_hold(*args):
        controls.hold(run.pk, by=people.alice)
        return real(*args)

    def lose(state, ctx, arg):
        if ctx.attempt == 1:
            raise RuntimeError("the reply was lost")

    script["pay"] = lose
    with monkeypatch.context() as patch:
        patch.setattr(effects, "outcome_question", asked_to_hold)
        worker(run)
    run.refresh_from_db()
    assert (run.status, Branch.objects.get(run=run).status) == ("held", "queued")
    controls.release(run.pk, by=people.alice)
    worker(run)
    answer(Gate.objects.get(run=run), "alice", "not_happened")
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_fan_out_that_waits_beyond_its_deadline_fails_and_is_retried(make_run, worker, people, answer):
    script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=2)
    worker(run)
    Run.objects.filter(pk=run.pk).update(deadline_at="2020-01-01T00:00Z")
    sweeper.Sweeper().end_overdue()
    run.refresh_from_db()
    assert (run.status, run.error["type"]) == ("failed", "DeadlinePassed")
    controls.retry(run.pk, by=people.alice)
    run.refresh_from_db()
    assert run.status == "waiting"
    answer(Gate.objects.get(run=run), "bob", "approve")
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_fan_out_whose_deadline_passes_starts_no_other_branch(make_run, worker):
    def late(state, ctx, arg):
        Run.objects.filter(pk=run.pk).update(deadline_at="2020-01-01T00:00Z")

    script["part"] = late
    run = make_run("t-fan", size=3)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.error["type"], calls) == ("failed", "DeadlinePassed", ["split", "part 0"])


def test_a_limit_holds_the_fan_out_and_a_release_allows_as_much_again(make_run, worker, people, monkeypatch):
    monkeypatch.setattr(part_flows.fan, "max_steps", 4)
    rounds: list[int] = []

    def around(state, ctx, arg):
        rounds.append(1)
        return Goto("part", found=["round"]) if len(state.found) < 5 else {"total": 1}

    script["part"] = around
    run = make_run("t-fan", size=1)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.limit, len(rounds)) == ("held", "max_steps", 4)
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_cost_limit_is_looked_at_between_branches(make_run, worker, people, monkeypatch):
    monkeypatch.setattr(part_flows.fan, "max_cost_usd", 0.02)

    def tell(state, ctx, arg):
        sweeper.Sweeper().tell()

    script["part"] = tell
    run = make_run("t-fan", size=6)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.limit) == ("held", "max_cost_usd")
    assert 2 <= calls.count("part 0") + calls.count("part 1") + calls.count("part 2") <= 4
    monkeypatch.setattr(part_flows.fan, "max_cost_usd", None)
    controls.release(run.pk, by=people.alice)
    Run.objects.filter(pk=run.pk).update(cost_allowed=10)
    worker(run)
    run.refresh_from_db()
    assert (run.status, float(run.cost_usd)) == ("succeeded", 0.06)


def test_two_fan_outs_of_one_run_keep_apart(make_run, worker, monkeypatch):
    """The join sends out again: keys, slots and ctx.branches are each fan-out's own."""
    from workflows import FanOut

    real = part_flows.fan.steps["join"].function
    object.__setattr__(
        part_flows.fan.steps["join"],
        "function",
        lambda state, ctx: FanOut("pay_part", [7, 8]) if len(state.found) < 4 else real(state, ctx),
    )
    try:
        run = make_run("t-fan", size=3)
        worker(run)
    finally:
        object.__setattr__(part_flows.fan.steps["join"], "function", real)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert run.fan_outs.count() == 2
    assert run.checkpoints.order_by("-seq").first().values()["found"] == ["r0", "r1", "r2", "paid 7", "paid 8"]
