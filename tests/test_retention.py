"""What is left of a run after its retention, and the end of one that makes no progress."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from approvals.models import Decision, Gate
from checkpoints import inspect, packing, pruning, store, verifying
from checkpoints.models import Checkpoint, Content
from engine.services import controls, deadlines, forking, starting
from engine.sweeper import Sweeper
from runs import reading
from runs.clock import Now
from runs.models import Event, Run
from tests.flows import script
from workflows import registry
from workflows.state import Change

pytestmark = pytest.mark.django_db


def age(run: Run, **fields: float) -> None:
    """Let a run be as old as that."""
    Run.objects.filter(pk=run.pk).update(**{name: Now() - timedelta(days=days) for name, days in fields.items()})


@pytest.fixture
def asking(make_run, worker):
    """t-rest at its gate."""
    run = make_run("t-rest")
    worker(run)
    Run.objects.filter(pk=run.pk).update(available_at=Now())
    worker(run)
    run.refresh_from_db()
    assert run.status == "waiting"
    return run


@pytest.fixture
def ended(asking, worker, answer):
    answer(Gate.objects.get(run=asking), "bob", "approve", comment="go on")
    worker(asking)
    asking.refresh_from_db()
    assert asking.status == "succeeded"
    return asking


def test_what_is_left_is_the_last_state_the_decisions_and_the_proof(ended):
    state = store.load(ended.pk, ended.seq).values
    age(ended, finished_at=31)
    before = {row.seq: bytes(row.digest) for row in (*Checkpoint.objects.filter(run=ended), *Event.objects.filter(run=ended))}
    assert pruning.prune() == 1 and pruning.prune() == 0
    run = Run.objects.get(pk=ended.pk)
    assert {
        row.seq: bytes(row.digest) for row in (*Checkpoint.objects.filter(run=run), *Event.objects.filter(run=run))
    } == before
    report = verifying.verify(run)
    assert report.is_sound and report.pruned > 0 and report.entries == run.seq + 1
    assert store.load(run.pk, run.seq).values == state and run.input is None
    assert Decision.objects.get(gate__run=run).comment == "go on"
    kept = [one for one in reading.journal(run) if one["kind"] == "decided"]
    assert kept[0]["detail"]["comment"] == "go on"


def test_a_long_history_is_pruned_up_to_the_keyframe_that_the_last_state_needs(make_run, worker, people, client):
    script["grow"] = lambda state: {"document": "x" * 9000}
    run = make_run("t-big")
    worker(run)
    run.refresh_from_db()
    state, kind = store.load(run.pk, run.seq).values, registry.newest("t-big").state
    since = store.load(run.pk, run.seq).since
    from workflows.state import apply

    for turn in range(70):
        change = apply(kind.parse(state), state, {"n": turn, "document": f"{turn % 3}" * 9000})
        store.write_change(run, kind, change, since, next_step="end", step="grow")
        state = change.values
    run.refresh_from_db()
    pieces = Content.objects.filter(run=run).count()
    assert pruning.prune_run(run)
    run.refresh_from_db()
    assert store.load(run.pk, run.seq).values == state and verifying.verify(run).is_sound
    assert 0 < Content.objects.filter(run=run).count() < pieces
    with pytest.raises(store.StatePruned):
        store.load(run.pk, 1)
    client.force_login(people.alice)
    for address in (f"/runs/{run.pk}/", f"/runs/{run.pk}/checkpoints/1/", f"/runs/{run.pk}/checkpoints/{run.seq}/"):
        assert client.get(address).status_code == 200
    assert client.get(f"/api/runs/{run.pk}/checkpoints/1").status_code == 410
    assert not run.can_roll_back and not run.can_retry


def test_neither_an_unfinished_run_nor_one_that_a_fork_still_reads_is_pruned(make_run, worker, people, asking):
    age(asking, created_at=90)
    assert not pruning.prune_run(asking) and pruning.prune() == 0
    run = make_run("t-twice", amount=1)
    worker(run)
    registry.newest("t-twice").retention = 60.0
    try:
        age(run, finished_at=1)
        found = forking.fork(run.pk, by=people.carol, seq=1)
        assert found.reuse and pruning.prune() == 0
        controls.cancel(found.pk, by=people.alice)
        assert pruning.prune() == 1  # the fork itself has only just ended
    finally:
        registry.newest("t-twice").retention = None


def test_a_prune_that_was_cut_off_is_taken_up_again(ended):
    age(ended, finished_at=31)
    pruning._close(ended)  # and no more
    assert [run.pk for run in pruning.due(5)] == [ended.pk]
    call_command("prune")
    assert Run.objects.get(pk=ended.pk).input is None and pruning.due(5) == []


def test_a_broken_history_is_not_pruned(ended):
    age(ended, finished_at=31)
    verifying.note(store.HistoryBroken(ended.pk, 1, "played"))
    assert pruning.prune() == 0


def test_the_key_of_a_pruned_run_starts_nothing_twice(people, worker):
    run, _ = starting.start(workflow="t-line", input={"n": 1}, by=people.alice, idempotency_key="k")
    worker(run)
    assert pruning.prune_run(Run.objects.get(pk=run.pk))
    assert starting.start(workflow="t-line", input={"n": 1}, by=people.alice, idempotency_key="k") == (run, False)


def test_the_last_state_of_a_pruned_run_can_still_be_forked(ended, people, worker):
    before = Checkpoint.objects.filter(run=ended, step="inquire").order_by("-seq").first()
    pruning.prune_run(ended)
    found = forking.fork(ended.pk, by=people.carol, seq=before.seq)
    worker(found)
    assert Run.objects.get(pk=found.pk).status == "succeeded"


def test_a_run_without_progress_ends_cancelled_because_it_expired(asking):
    assert not deadlines.expired().exists()
    age(asking, updated_at=1, available_at=1)
    Sweeper().keep_house()
    run = Run.objects.get(pk=asking.pk)
    assert (run.status, run.reason) == ("cancelled", "expired")
    assert Gate.objects.get(run=run).status == "withdrawn"
    last = reading.journal(run, newest_first=True)[0]
    assert (last["kind"], last["by"], last["detail"]["reason"]) == ("ended", "policy", "expired")


def test_one_that_sleeps_as_it_was_told_to_does_not_expire(make_run, worker):
    run = make_run("t-rest")
    worker(run)
    age(run, updated_at=1)
    run.refresh_from_db()
    assert run.pause["kind"] == "sleep" and not deadlines.end_expired(run.pk)
    age(run, available_at=0.5)  # nobody came when it was due
    assert deadlines.end_expired(run.pk)


def test_a_workflow_without_expires_lets_its_runs_wait(make_gate):
    gate = make_gate()
    age(gate.run, updated_at=400)
    assert not deadlines.end_expired(gate.run_id)


def test_one_that_is_in_a_step_does_not_expire(make_run, worker):
    run = make_run("t-rest")
    Run.objects.filter(pk=run.pk).update(status="running", worker=5, updated_at=Now() - timedelta(days=2))
    assert not deadlines.end_expired(run.pk)


@pytest.mark.django_db(transaction=True)
def test_a_decision_and_the_expiry_at_the_same_moment_make_one_end(asking, answer):
    from tests.conftest import together

    age(asking, updated_at=1, available_at=1)
    gate = Gate.objects.get(run=asking)
    acts: list[Any] = [lambda: deadlines.end_expired(asking.pk), lambda: answer(gate, "bob", "approve")]
    together(2, lambda number: acts[number]())
    run = Run.objects.get(pk=asking.pk)
    gate.refresh_from_db()
    assert (run.status, gate.status) in (("cancelled", "withdrawn"), ("queued", "decided"), ("cancelled", "decided"))
    assert verifying.verify(run).is_sound


def test_what_a_pruned_checkpoint_changed_is_not_known_any_more(ended):
    kind = registry.newest("t-rest").state
    loaded = store.load(ended.pk, ended.seq)
    change = Change(kind.parse(loaded.values), loaded.values, {}, {})
    packed = packing.pack(ended.pk, kind, ended, change, loaded.since, next_step="end", step="last", keyframe=True)
    store.write(ended.pk, packed)
    assert pruning.prune_run(ended)
    run = Run.objects.get(pk=ended.pk)
    first = Checkpoint.objects.get(run=run, seq=1)
    assert first.as_entry()["detail"]["pruned"] and inspect.delta_of(run, first) == {}
