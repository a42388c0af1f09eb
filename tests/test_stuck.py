"""A step that runs for much longer than usual is said to be stuck: once, with what is usual, and never a gate."""

from datetime import timedelta

import pytest
from django.db.models import F

from approvals.models import Delivery, Occasion
from checkpoints.models import Checkpoint
from engine.services import stuck
from engine.sweeper import Sweeper
from runs.clock import database_now
from runs.models import Event, Kind, Run
from tests.conftest import drive, kinds


@pytest.fixture
def in_flight(make_run):
    """``in_flight(90)``: a run whose step is in flight for so many seconds."""

    def make(seconds, workflow="t-line"):
        run = make_run(workflow)
        started = database_now() - timedelta(seconds=seconds)
        Run.objects.filter(pk=run.pk).update(status="running", worker=7, step_started_at=started)
        return run

    return make


def usual(make_run, worker, seconds, times=10):
    for _ in range(times):
        drive(worker, make_run())
    Checkpoint.objects.filter(step="one").update(started_at=F("at") - timedelta(seconds=seconds))


def test_a_step_three_times_slower_than_usual_is_noted_once_and_told(in_flight, make_run, worker, people, deliver):
    usual(make_run, worker, 20)
    slow, fine = in_flight(61), in_flight(59)
    sweeper = Sweeper()
    sweeper.find_stuck()
    sweeper.finds_stuck_at = 0
    sweeper.find_stuck()
    notes = Event.objects.filter(kind=Kind.NOTE)
    assert [(note.run_id, note.by) for note in notes] == [(slow.pk, "sweeper")]
    assert "one has been at work for 1 m; usually at most 20 s" in notes[0].facts()["text"]
    assert kinds(fine) == ["checkpoint"]
    assert list(Run.objects.stuck()) == [slow]
    deliver()
    told = Delivery.objects.get(occasion=Occasion.STUCK)
    assert told.user == people.alice and told.run_id == slow.pk


def test_nothing_is_stuck_within_half_a_minute(in_flight, make_run, worker):
    usual(make_run, worker, 0.01)
    assert stuck.candidates(10) == []
    run = in_flight(29)
    assert stuck.candidates(10) == [] and not stuck.note(run.pk)
    assert stuck.note(in_flight(31).pk)


def test_without_a_history_half_of_the_timeout_counts(in_flight):
    assert not stuck.note(in_flight(149).pk)  # its timeout is 300 s
    assert stuck.note(in_flight(151).pk)


def test_a_gate_and_a_sleeping_run_are_never_stuck(make_gate, at):
    make_gate()
    at("3 hours")
    assert stuck.candidates(10) == []


def test_the_next_step_can_be_stuck_again(in_flight):
    run = in_flight(400)
    assert stuck.note(run.pk) and not stuck.note(run.pk)
    found = database_now() - timedelta(seconds=500)
    Run.objects.filter(pk=run.pk).update(step="two", visit=2, stuck_at=found, step_started_at=found + timedelta(seconds=100))
    assert not Run.objects.stuck().exists()
    assert stuck.note(run.pk) and Run.objects.stuck().get() == run
