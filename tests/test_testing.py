"""``workflows.testing`` plays a workflow as the engine would run it."""

import pytest

from approvals.models import Gate
from demo.refund import refund
from runs.models import Run
from tests import flows, gate_flows, part_flows
from workflows import Permanent, Transient, registry
from workflows.testing import approve, crash, done_by_hand, happened, lost_reply, not_happened, play, reject, respond, retry

FINAL = {"succeeded", "failed", "rejected", "waiting", "held"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "workflow, given, decide",
    [
        ("t-line", {}, {}),
        ("t-loop", {"until": 4}, {}),
        ("t-gated", {"amount": 5}, {}),
        ("t-gated", {"amount": 400}, {}),
        ("t-gated", {"amount": 400}, {"boss": approve(by="bob", comment="fine")}),
        ("t-gated", {"amount": 400}, {"boss": approve(by="bob", amount=90)}),
        ("t-gated", {"amount": 400}, {"boss": reject("no", by="bob")}),
        ("t-gated", {"amount": 400}, {"boss": [respond("again", by="bob"), approve(by="bob")]}),
        ("t-ask", {}, {"ask-1": approve(by="bob"), "second": reject(by="bob")}),
        ("t-bounded", {"until": 9}, {}),
        ("t-fan", {"size": 4}, {}),
        ("t-fan", {"size": 0}, {}),
        ("t-saga", {"size": 2}, {}),
        ("t-saga", {"size": 2, "amount": 5}, {"sure": approve(by="bob")}),
        ("t-saga", {"size": 2, "amount": 5}, {"sure": reject("no", by="bob")}),
        ("t-undone", {}, {}),
    ],
)
def test_a_played_run_goes_as_a_real_one(make_run, worker, people, answer, workflow, given, decide):
    """Status, steps, state and what ran, in order: the engine and the player agree."""
    definition = registry.newest(workflow)
    played = play(definition, given, decide=decide)
    ran = list(flows.calls)
    flows.calls.clear()
    run = make_run(workflow, **given)
    left = {key: list(found) if isinstance(found, list) else [found] for key, found in decide.items()}
    for _ in range(20):
        worker(run)
        gate = Gate.objects.filter(run=run).open().order_by("ordinal").first()
        if gate is None or not left.get(gate.key):
            break
        one = left[gate.key].pop(0)
        answer(gate, one.by, one.verdict, comment=one.comment, args=one.args and dict(one.args))
    worker(run)  # what rolls back
    run = Run.objects.get(pk=run.pk)
    assert played.status == run.status
    assert ran == flows.calls
    real = [row.step for row in run.checkpoints.order_by("seq") if row.step]
    assert list(dict.fromkeys(played.steps)) == list(dict.fromkeys(real))
    assert played.state.model_dump(mode="json") == run.checkpoints.latest("seq").values()
    assert played.cost_usd == pytest.approx(float(run.cost_usd))


def test_a_lost_reply_is_verified_and_not_repeated():
    flows.script["verify"] = "happened"
    played = play(flows.effect, {}, fail={"act": [lost_reply()]})
    assert (played.status, played.attempts, played.verified) == (
        "succeeded", [("act", 1), ("after", 1)], [("act", "Happened")]
    )  # fmt: skip


def test_a_crash_is_charged_to_no_attempt():
    flows.script["verify"] = "not"
    played = play(flows.effect, {}, fail={"act": [crash(), crash(after=True)]})
    assert played.status == "succeeded"
    assert [attempt for step, attempt in played.attempts if step == "act"] == [1, 2, 3]


def test_three_crashes_in_one_step_are_poison():
    flows.script["verify"] = "not"
    played = play(flows.effect, {}, fail={"act": [crash(), crash(), crash()]})
    assert (played.status, played.error and played.error.type) == ("failed", "Poison")


def test_an_unknown_outcome_asks_and_the_answer_counts():
    flows.script["verify"] = "unknown"
    assert play(flows.effect, {}, fail={"act": [lost_reply()]}).waiting == ["act:outcome"]
    there = play(flows.effect, {}, fail={"act": [lost_reply()]}, decide={"act:outcome": happened(answer="r-1")})
    assert (there.status, there.state.answer) == ("succeeded", "r-1")
    again = play(flows.effect, {}, fail={"act": [lost_reply()]}, decide={"act:outcome": not_happened()})
    assert [step for step, _ in again.attempts] == ["act", "act", "after"]


def test_attempts_are_used_up_and_permanent_ends_at_once():
    assert play(flows.flaky, {}, fail={"unsure": [Transient("a"), Transient("b")]}).status == "succeeded"
    failed = play(flows.flaky, {}, fail={"unsure": [Transient("a"), Transient("b"), Transient("c")]})
    assert (failed.status, failed.error and failed.error.message) == ("failed", "c")
    assert play(flows.flaky, {}, fail={"unsure": [Permanent("no")]}).attempts == [("unsure", 1)]


def test_what_an_approver_changed_is_what_is_paid(monkeypatch):
    paid = []
    monkeypatch.setattr("demo.client.call", lambda *args, **options: paid.append(options["json"]) or {"id": "r-1"})
    played = play(refund, {"order": "A-1", "amount": 400}, decide={"manager": approve(amount=380, by="bob")})
    assert played.status == "succeeded"
    assert paid == [{"order": "A-1", "amount": 380}]
    assert played.asked["manager"].title == "Refund 400 € for A-1"


def test_branches_fail_alone_and_are_collected():
    flows.script["part"] = part_flows.failing(1)
    failed = play(part_flows.fan, {"size": 3})
    assert (failed.status, failed.error and failed.error.message) == ("failed", "branch 1: part 1 is not there")
    flows.script["part"] = part_flows.failing(1)
    assert play(part_flows.fan, {"size": 3, "collect": True}).state.summary == "2 results; 0+,1-,2+"


def test_a_branch_asks_and_goes_on():
    flows.script["part"] = part_flows.ask_in_branch
    assert (play(part_flows.fan, {"size": 3}).status, play(part_flows.fan, {"size": 3}).waiting) == ("waiting", ["ask"])
    played = play(part_flows.fan, {"size": 3}, decide={"ask": approve(by="bob")})
    assert (played.status, played.state.total) == ("succeeded", 9)


def test_sleeps_take_no_time_and_signals_are_scripted():
    came = play(part_flows.pausing, {"size": 1}, signals={"settled": ["paid"]})
    assert (came.status, came.state.summary) == ("succeeded", "paid")
    late = play(part_flows.pausing, {"size": 1})
    assert (late.status, late.state.summary) == ("succeeded", "late None")
    ever = play(part_flows.plain_wait, {"size": 0})
    assert (ever.status, ever.waiting) == ("queued", ["go"])
    failed = play(part_flows.plain_wait, {"size": 1})
    assert failed.error is not None and failed.error.type == "WaitTimedOut"


def test_what_was_undone_is_told_and_people_are_asked():
    played = play(part_flows.saga, {"size": 2, "amount": 1}, decide={"sure": reject()})
    assert (played.status, played.undone) == ("rolled_back", ["ship", "ship", "book"])

    def broken(state, ctx):
        raise RuntimeError("closed")

    flows.script["undo book"] = broken
    stuck = play(part_flows.saga, {"size": 0, "amount": 1}, decide={"sure": reject()})
    assert (stuck.status, stuck.waiting) == ("waiting", ["book:undo"])
    by_hand = play(part_flows.saga, {"size": 0, "amount": 1}, decide={"sure": reject(), "book:undo": [retry(), done_by_hand()]})
    assert (by_hand.status, flows.calls.count("undo book 1")) == ("rolled_back", 1 + 2 + 4)


def test_an_approval_that_has_grown_stale_is_asked_again():
    flows.script["price"] = 480
    played = play(gate_flows.fresh, {"amount": 400}, decide={"offer": [approve(), approve()]})
    assert (played.status, played.state.amount, played.asked["offer"].title) == ("succeeded", 480, "Buy for 480")
    assert play(gate_flows.fresh, {"amount": 400}, decide={"offer": approve()}).waiting == ["offer"]
