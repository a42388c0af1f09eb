"""Forks, decisions, prunes and proofs at the same moment."""

import threading
import time
from typing import Any

import pytest
from django.db import connections

from approvals.models import Gate
from checkpoints import pruning, store, verifying
from checkpoints.models import DataKey
from engine.services import controls, forking
from runs.models import Kind, Run
from runs.services import journal
from runs.services.moves import MoveRefused
from tests import flows
from tests.conftest import together
from workflows.state import Change

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def paid(make_run, worker):
    run = make_run("t-twice", amount=400)
    worker(run)
    flows.calls.clear()
    return Run.objects.get(pk=run.pk)


def test_of_many_forks_with_one_key_there_is_one_run(paid, people):
    made = together(6, lambda number: forking.fork(paid.pk, by=people.carol, seq=1, key="k"))
    assert len({one.pk for one in made}) == 1 and Run.objects.count() == 2


def test_a_fork_that_cancels_its_source_and_a_decision_there(make_gate, answer, people):
    gate = make_gate()

    def act(number: int) -> Any:
        if number:
            return answer(gate, "bob", "approve")
        return forking.fork(gate.run_id, by=people.carol, seq=1, source="cancel")

    found = together(2, act)
    origin = Run.objects.get(pk=gate.run_id)
    assert (origin.status, Run.objects.filter(forked_from=origin).count()) == ("cancelled", 1), found
    assert Gate.objects.get(pk=gate.pk).status in ("withdrawn", "decided")
    assert verifying.verify(origin).is_sound


def test_a_source_that_ends_meanwhile_leaves_no_half_fork(paid, people):
    with pytest.raises(MoveRefused):
        forking.fork(paid.pk, by=people.carol, seq=1, source="hold")
    assert Run.objects.count() == 1


def test_a_fork_and_a_prune_at_the_same_moment(paid, people, worker):
    def act(number: int) -> Any:
        return pruning.prune_run(paid) if number else forking.fork(paid.pk, by=people.carol, seq=2, effects="execute")

    found = together(2, act)
    forks = list(Run.objects.filter(forked_from=paid))
    assert isinstance(found[0], store.StatePruned) == (not forks), found
    for one in forks:
        worker(one)
        assert Run.objects.get(pk=one.pk).status == "succeeded"


def test_a_run_that_is_being_written_is_never_called_broken(make_run):
    run = make_run()
    stop = threading.Event()

    def write() -> None:
        kind = flows.Counter
        loaded = store.load(run.pk, 0)
        state, values, since = kind.parse(loaded.values), loaded.values, loaded.since
        while not stop.is_set():
            store.write_change(run, kind, Change(state, values, {"set": {"n": 0}}, {}), since, next_step="one", step="one")
            journal.record(run.pk, journal.Entry(Kind.NOTE, detail={"text": "x"}))
        connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            report = verifying.verify(Run.objects.get(pk=run.pk))
            assert report.is_sound, report.breaks
    finally:
        stop.set()
        thread.join()
    assert report.entries > 20


def test_the_first_secret_of_a_run_makes_one_key_whoever_is_first(make_run):
    from checkpoints import sealing

    run = make_run()
    tokens = together(6, lambda number: sealing.seal(run.pk, "token", "same"))
    assert len(set(tokens)) == 1 and DataKey.objects.filter(run=run).count() == 1


def test_holding_a_fork_while_it_takes_a_recorded_result(paid, people, worker):
    found = forking.fork(paid.pk, by=people.carol, seq=1)
    together(2, lambda number: worker(found) if number else controls.hold(found.pk, by=people.alice))
    run = Run.objects.get(pk=found.pk)
    while run.status != "succeeded":
        if run.status == "held":
            controls.release(run.pk, by=people.alice)
        worker(run)
        run.refresh_from_db()
    assert not [call for call in flows.calls if call.startswith(("charge", "mail"))]
