"""What the sweeper finds, and what cannot stop it."""

import time
from datetime import timedelta

import pytest
from django.db import DatabaseError, OperationalError, connection, connections

from engine import boundary, claim
from engine.services import takeover
from engine.sweeper import Sweeper
from runs.clock import Now
from runs.models import Run
from tests.conftest import die, new_lease

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_lease_of_a_frozen_worker_is_cut_and_its_run_taken_over(make_run):
    run = make_run()
    key, held = new_lease()
    assert claim.take_hinted(run.pk, key)
    sweeper = Sweeper()
    sweeper.cut_stuck_workers()
    assert takeover.lost(10) == []
    Run.objects.filter(pk=run.pk).update(step_started_at=Now() - timedelta(seconds=400))
    sweeper.cut_stuck_workers()
    with pytest.raises(Exception, match="terminat"):
        held.execute("SELECT 1")
    assert [row[0] for row in takeover.lost(10)] == [run.pk]
    assert takeover.take_over(*takeover.lost(10)[0])


def test_a_part_that_fails_does_not_stop_the_others(make_run, quiet_bells, monkeypatch):
    run = make_run()
    quiet_bells.clear()
    sweeper = Sweeper()
    monkeypatch.setattr(sweeper, "cut_stuck_workers", lambda: 1 / 0)
    sweeper.sweep()
    assert quiet_bells == [run.pk]


def test_an_outage_of_the_database_is_raised_to_the_loop(make_run, monkeypatch):
    def away():
        raise OperationalError("the database system is shutting down")

    sweeper = Sweeper()
    monkeypatch.setattr(sweeper, "ring", away)
    with pytest.raises(OperationalError):
        sweeper.sweep()
    connections.close_all()


def test_a_run_that_is_due_again_is_rung_for_again(make_run, quiet_bells):
    run = make_run()
    quiet_bells.clear()
    sweeper = Sweeper()
    sweeper.ring()
    Run.objects.filter(pk=run.pk).update(available_at=Now())
    sweeper.ring()
    assert quiet_bells == [run.pk, run.pk]


def test_a_run_that_somebody_keeps_locked_does_not_stop_the_sweep(make_run):
    locked, free = make_run(), make_run()
    key, lease = new_lease()
    assert claim.take_hinted(locked.pk, key)
    assert claim.take_hinted(free.pk, key)
    die(lease)
    _, other = new_lease()
    sweeper = Sweeper()
    sweeper.wait_for_no_lock()
    try:
        with other.transaction():
            other.execute("SELECT FROM runs_run WHERE id = %s FOR NO KEY UPDATE", [locked.pk])
            began = time.monotonic()
            for row in [(run.pk, key, 1) for run in (locked, free)]:
                sweeper._each([row], lambda row: takeover.take_over(*row), sweeper.failed_runs, key=lambda row: row[0])
            assert time.monotonic() - began < 5
            assert set(Run.objects.filter(status="queued")) == {free}
            assert sweeper.failed_runs.ids() == [locked.pk]
        assert takeover.take_over(locked.pk, key, 1)
    finally:
        connections.close_all()  # and its patience with it
        other.close()


def test_a_worker_that_freezes_with_its_run_locked_loses_the_lock(make_run, monkeypatch):
    monkeypatch.setattr(boundary, "IDLE_LIMIT", "200ms")
    run = make_run()
    key, lease = new_lease()
    claimed, _ = claim.take_hinted(run.pk, key)
    _, other = new_lease()

    def freeze():
        with boundary.fenced(claimed):
            other.execute("SET lock_timeout = '3s'")
            other.execute("SELECT FROM runs_run WHERE id = %s FOR NO KEY UPDATE", [run.pk])
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

    try:
        with pytest.raises(DatabaseError, match="idle-in-transaction"):
            freeze()
    finally:
        connection.close()
        other.close()
        lease.close()
