"""A fork goes on from another run's checkpoint: nothing of the origin is changed, nothing outside is done twice unasked."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from approvals.models import Gate
from approvals.rights import standing
from checkpoints import store, verifying
from checkpoints.models import Checkpoint
from engine.services import controls, forking
from engine.services.starting import InputInvalid
from runs import lineage, reading
from runs.access import NotPermitted
from runs.models import Run
from runs.words import entry_in_words
from tests import flows
from tests.conftest import kinds
from tests.test_store import flip
from workflows import registry

pytestmark = pytest.mark.django_db


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def fork(people: Any) -> Callable[..., Run]:
    return lambda run, seq, by="carol", **more: forking.fork(run.pk, by=people[by], seq=seq, **more)


@pytest.fixture
def run_to_end(make_run, worker):
    def carry(run):
        while worker(run):
            pass
        return fresh(run)

    return carry


@pytest.fixture
def paid(make_run, run_to_end) -> Any:
    """think, charge, between, mail, done: all done."""
    run = run_to_end(make_run("t-twice", amount=400))
    assert run.status == "succeeded" and flows.calls == ["think", "charge 400", "between", "mail charged 400", "done"]
    flows.calls.clear()
    return run


def test_a_fork_uses_the_state_of_its_checkpoint_and_not_the_latest(paid, fork, run_to_end):
    """peers J1, J3."""
    before = [row.digest for row in Checkpoint.objects.filter(run=paid)], fresh(paid).seq
    found = fork(paid, 1, effects="execute", changes={"amount": 380}, reason="a typing error")
    assert (found.step, found.forked_from_id, found.forked_at_seq, found.created_by.username) == ("charge", paid.pk, 1, "carol")
    assert kinds(found) == ["checkpoint", "forked charge", "checkpoint"]
    assert store.load(found.pk, found.seq).values["amount"] == 380
    assert store.load(found.pk, 0).values == store.load(paid.pk, 1).values
    found = run_to_end(found)
    assert (found.status, flows.calls) == ("succeeded", ["charge 380", "between", "mail charged 380", "done"])
    assert reading.output(found)["log"] == ["thought", "charged", "mailed"]
    assert ([row.digest for row in Checkpoint.objects.filter(run=paid)], fresh(paid).seq) == before
    assert verifying.verify(fresh(found)).is_sound


def test_recorded_results_are_taken_and_nothing_is_done_again(paid, fork, run_to_end):
    found = run_to_end(fork(paid, 1, effects="reuse"))
    assert (found.status, found.reuse, flows.calls) == ("succeeded", None, ["between", "done"])
    assert reading.output(found) == reading.output(fresh(paid))
    taken = Checkpoint.objects.filter(run=found, reused_from__isnull=False).order_by("seq")
    assert [(row.step, row.reused_from) for row in taken] == [("charge", 2), ("mail", 4)]
    assert "not done again" in entry_in_words(taken[0].as_entry())


def test_each_effect_has_its_own_choice(paid, fork, run_to_end):
    found = run_to_end(fork(paid, 1, effects={"mail": "execute"}))
    assert (found.status, flows.calls) == ("succeeded", ["between", "mail charged 400", "done"])


def test_a_result_is_not_reused_for_something_else_that_was_seen(paid, fork):
    with pytest.raises(InputInvalid) as error:
        fork(paid, 1, changes={"amount": 380})
    assert (
        set(error.value.errors) == {"effects.charge", "effects.mail"} and "saw amount" in error.value.errors["effects.charge"]
    )
    assert not fresh(paid).forks.exists()


def test_what_an_effect_does_not_see_may_change(paid, fork, run_to_end):
    found = fork(paid, 1, changes={"until": 9}, effects={"charge": "reuse", "mail": "execute"})
    found = run_to_end(found)
    assert (found.status, flows.calls) == ("succeeded", ["between", "mail charged 400", "done"])


def test_where_an_effect_comes_to_see_something_else_the_fork_is_held_and_releasing_executes(paid, fork, run_to_end, people):
    """Only when it gets there is known what the steps before it return this time."""
    found = fork(paid, 2, effects="reuse")
    controls.hold(found.pk, by=people.alice)
    controls.release(found.pk, by=people.alice, changes={"n": 5})  # "between" adds to it, and "mail" sees everything
    found = run_to_end(found)
    assert (found.status, found.limit) == ("held", "reuse")
    assert "saw another n" in found.reason and flows.calls == ["between"]
    controls.release(found.pk, by=people.alice)
    found = run_to_end(found)
    assert (found.status, flows.calls) == ("succeeded", ["between", "mail charged 400", "done"])


def test_a_reused_effect_is_not_rolled_back_by_the_fork(paid, fork, run_to_end, people):
    from engine import undo_plan

    found = run_to_end(fork(paid, 1, effects={"charge": "reuse", "mail": "execute"}))
    steps = registry.newest("t-twice").steps
    assert [undo_plan.count(found.pk, steps[name]) for name in ("charge", "mail")] == [0, 1]


def test_a_fork_at_the_gate_asks_again_when_the_proposal_changed(make_gate, answer, fork, run_to_end, people):
    gate = make_gate()
    found = run_to_end(fork(gate.run, 1, changes={"amount": 380}))
    asked = Gate.objects.get(run=found)
    assert (found.status, asked.title, asked.status) == ("waiting", "Pay 380", "open")
    answer(asked, "bob", "approve")
    assert run_to_end(found).status == "succeeded"
    assert flows.calls == ["prepare", "pay 380"]


def approved(make_gate: Any, answer: Any, run_to_end: Any, by: str = "bob", **more: Any) -> Any:
    gate = make_gate()
    answer(gate, by, "approve", **more)
    run = run_to_end(gate.run)
    assert run.status == "succeeded"
    flows.calls.clear()
    return run


def test_an_identical_proposal_is_not_asked_again(make_gate, answer, fork, run_to_end):
    run = approved(make_gate, answer, run_to_end, comment="fine")
    found = run_to_end(fork(run, 1, effects="execute"))
    assert (found.status, flows.calls) == ("succeeded", ["pay 400"])
    carried = Gate.objects.get(run=found)
    assert (carried.status, carried.carried_from.run_id, carried.outcome_by) == ("decided", run.pk, "bob")
    assert reading.output(found)["answer"] == "fine"
    entry = next(one for one in reading.journal(found) if one["kind"] == "decided")
    assert entry["detail"]["carried_from"] == str(run.pk)


def test_an_edited_approval_is_taken_over_as_it_was_edited(make_gate, answer, fork, run_to_end):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 300})
    run_to_end(gate.run)
    found = run_to_end(fork(gate.run, 1, effects="execute"))
    assert (found.status, flows.calls) == ("succeeded", ["prepare", "pay 300", "pay 300"])


def test_a_rejection_is_not_taken_over(make_gate, answer, fork, run_to_end):
    gate = make_gate()
    answer(gate, "bob", "reject")
    found = run_to_end(fork(gate.run, 1))
    assert found.status == "waiting"


def test_a_fork_after_the_gate_with_a_changed_amount_is_asked_again(make_gate, answer, fork, run_to_end):
    run = approved(make_gate, answer, run_to_end)
    after_gate = Checkpoint.objects.get(run=run, step="boss").seq
    found = run_to_end(fork(run, after_gate, changes={"amount": 380}, effects="execute"))
    assert (found.status, found.step, flows.calls) == ("waiting", "boss", [])
    answer(Gate.objects.get(run=found, status="open"), "erin", "approve")
    assert run_to_end(found).status == "succeeded" and flows.calls == ["pay 380"]


def test_a_fork_after_the_gate_keeps_its_approval(make_gate, answer, fork, run_to_end):
    run = approved(make_gate, answer, run_to_end, comment="yes")
    found = run_to_end(fork(run, Checkpoint.objects.get(run=run, step="boss").seq, effects="execute"))
    assert (found.status, flows.calls, reading.output(found)["answer"]) == ("succeeded", ["pay 400"], "yes")


def test_nobody_approves_their_own_request_by_way_of_a_fork(make_gate, answer, fork, run_to_end, people):
    """peers D5: every route enforces the same rules."""
    from django.contrib.auth.models import Group

    people.carol.groups.add(Group.objects.get(name="finance"))
    people.alice.groups.add(Group.objects.get(name="finance"))
    run = approved(make_gate, answer, run_to_end, by="carol")
    for seq in (1, Checkpoint.objects.get(run=run, step="boss").seq):  # before the gate, and after it
        found = run_to_end(fork(run, seq, effects="execute"))  # by carol, who has approved
        asked = Gate.objects.get(run=found, status="open")
        assert (found.status, found.step, flows.calls) == ("waiting", "boss", [])
        assert (
            "forked from" in standing(asked, people.alice).why_not
            and "You started this run" in standing(asked, people.carol).why_not
        )
        assert set(Gate.objects.decidable_by(people.bob)) >= {asked}
        assert asked not in Gate.objects.decidable_by(people.alice)


def test_only_admins_fork(paid, fork):
    for name in ("alice", "bob", "dave"):
        with pytest.raises(NotPermitted):
            fork(paid, 1, by=name)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"seq": 1, "changes": {"amount": "many"}}, "changes.amount"),
        ({"seq": 1, "changes": {"nothing": 1}}, "changes.nothing"),
        ({"seq": 1, "effects": "perhaps"}, "effects"),
        ({"seq": 1, "effects": {"think": "reuse"}}, "effects.think"),
        ({"seq": 1, "effects": {"mail": "maybe"}}, "effects.mail"),
        ({"seq": 1, "source": "burn"}, "source"),
        ({"seq": 1, "version": "9"}, "version"),
        ({"seq": 1, "reason": "x" * 3000}, "reason"),
        ({"seq": 5}, "seq"),
    ],
)
def test_bad_input_is_refused_by_field_and_nothing_is_written(paid, fork, given, field):
    with pytest.raises(InputInvalid) as error:
        fork(paid, **given)
    assert field in error.value.errors and Run.objects.count() == 1


def test_a_fork_from_nowhere_beyond_a_break_or_of_a_workflow_that_is_gone(paid, fork):
    with pytest.raises(store.CheckpointMissing):
        fork(paid, -1)
    flip(Checkpoint.objects.get(run=paid, seq=3), "delta")
    with pytest.raises(store.HistoryBroken, match="seq 3"):
        fork(paid, 4, effects="execute")
    assert fresh(paid).broken_at == 3
    assert fork(paid, 2, effects="execute").forked_at_seq == 2  # what is sound can be forked
    Run.objects.filter(pk=paid.pk).update(workflow="gone")
    with pytest.raises(registry.WorkflowUnknown):
        fork(paid, 1)


def test_in_the_middle_of_a_step_nothing_begins(make_run, worker, fork):
    run = make_run("t-ask")
    worker(run)
    with pytest.raises(InputInvalid, match="in the middle of step 'ask'; fork from seq 0"):
        fork(run, 1)


def test_one_key_makes_one_run(paid, fork):
    one, two = fork(paid, 1, key="k", effects="execute"), fork(paid, 1, key="k", effects="execute")
    assert one.pk == two.pk and fork(paid, 1, key="other", effects="execute").pk != one.pk


def test_the_source_is_left_held_or_cancelled_as_was_asked(make_gate, fork):
    for source, status in (("leave", "waiting"), ("hold", "held"), ("cancel", "cancelled")):
        gate = make_gate()
        found = fork(gate.run, 1, source=source, reason="wrong amount")
        origin = fresh(gate.run)
        assert (origin.status, found.status) == (status, "queued")
        assert source == "leave" or f"forked as …{found.short_id}: wrong amount" in origin.reason


def test_a_fork_of_a_fork_has_one_family(paid, fork, run_to_end):
    first = fork(paid, 1, effects="execute", changes={"amount": 1})
    second = run_to_end(fork(run_to_end(first), 2, effects="execute", changes={"amount": 2}, reason="once more"))
    third = fork(paid, 2, effects="execute")
    for one in (paid, first, second, third):
        tree = lineage.tree(fresh(one))
        assert tree.run == paid and [child.run for child in tree.forks] == [first, third]
        assert [child.run for child in tree.forks[0].forks] == [second]
    assert tree.forks[0].forks[0].forked["changed"] == {"amount": {"from": 1, "to": 2}}
    root, items, following = lineage.page(second, limit=2)
    assert (root, len(items)) == (paid.pk, 2)
    assert [one.run for one in lineage.page(second, after=following, limit=2)[1]] == [second, third]


def test_a_fork_begins_with_fresh_limits_and_its_own_keys(paid, fork):
    found = fork(paid, 3, effects="execute")
    assert found.cost_usd == 0 and found.steps_allowed == 3 + 10_000 and found.visit == 4
    assert found.idempotency_key is None and found.pk != paid.pk and isinstance(found.pk, uuid.UUID)
