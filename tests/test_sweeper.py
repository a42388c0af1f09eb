"""What the sweeper finds, and what cannot stop it."""

import pytest
from django.db import OperationalError, connections

from engine import claim
from engine.sweeper import Sweeper
from runs.clock import Now
from runs.models import Run
from tests.conftest import new_lease

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_lease_of_a_frozen_worker_is_cut_and_its_run_taken_over(make_run):
    from datetime import timedelta

    from engine.services import takeover

    run = make_run()
    key, held = new_lease()
    assert claim.take(run.pk, key)
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
