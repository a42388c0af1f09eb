"""Sleeping, and waiting for signals: without a worker, to the second, over restarts."""

import pytest

from engine import sweeper
from engine.services import controls, signals
from engine.services.starting import InputInvalid
from runs.access import NotPermitted
from runs.clock import offset_for_tests
from runs.models import Run, Signal
from runs.services.moves import MoveRefused
from tests import part_flows
from tests.conftest import kinds
from tests.flows import calls, script
from workflows import Sleep, Wait

pytestmark = pytest.mark.django_db


@pytest.fixture
def later(worker):
    """``later("1 hour", run)``: the clock stands there, and what is due is carried on."""

    def go(interval, run):
        offset_for_tests(interval)
        try:
            worker(run)
        finally:
            offset_for_tests("")
        run.refresh_from_db()
        return run

    return go


def test_a_sleeping_run_is_in_nobodys_hands_and_goes_on_when_its_time_has_come(make_run, worker, later, quiet_bells):
    run = make_run("t-pausing", size=3)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.step, run.worker, run.pause) == ("queued", "poll", None, run.pause)
    assert run.pause["kind"] == "sleep"
    assert 3590 < (run.available_at - run.updated_at).total_seconds() < 3610
    quiet_bells.clear()
    assert sweeper.Sweeper().ring() == 0
    later("59 minutes", run)
    assert run.step == "poll" and calls == ["doze"]
    later("61 minutes", run)
    assert calls == ["doze", "poll"]
    slept = [event.as_entry()["detail"]["goto"] for event in run.events.filter(kind="slept")]
    assert slept == ["poll", "poll"]


def test_polling_comes_back_to_the_same_step_as_a_new_visit(make_run, worker, later):
    run = make_run("t-pausing", size=3)
    worker(run)
    for hours in (2, 4, 6):
        later(f"{hours} hours", run)
    assert calls == ["doze", "poll", "poll", "poll"]
    assert run.signal_name == "settled"


def _waiting(make_run, worker, later, **given):
    run = make_run("t-pausing", size=1, **given)
    worker(run)
    return later("2 hours", run)


def test_a_signal_ends_the_wait_and_only_the_next_step_reads_it(make_run, worker, later, people):
    run = _waiting(make_run, worker, later)
    assert (run.status, run.step, run.signal_name) == ("queued", "settle", "settled")
    signals.send(run.pk, by=people.alice, name="other", payload=1)
    worker(run)
    assert calls == ["doze", "poll"]
    signals.send(run.pk, by=people.alice, name="settled", payload={"by": "bank"})
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert calls[2:] == ["signal {'by': 'bank'}", "done"]
    assert kinds(run).count("signal settle") == 2


def test_a_signal_that_comes_early_is_kept_and_read_once(make_run, worker, later, people):
    run = make_run("t-pausing", size=1)
    signals.send(run.pk, by=people.alice, name="settled", payload="early")
    signals.send(run.pk, by=people.alice, name="settled", payload="second")
    worker(run)
    later("2 hours", run)
    later("3 hours", run)
    assert run.status == "succeeded"
    assert calls[2:] == ["signal early", "done"]
    assert list(Signal.objects.order_by("id").values_list("visit", flat=True)) == [4, None]


def test_a_wait_that_times_out_goes_on_where_its_author_said(make_run, worker, later):
    run = _waiting(make_run, worker, later)
    later("4 days", run)
    later("4 days", run)
    assert (run.status, run.checkpoints.order_by("-seq")[1].step) == ("succeeded", "late")
    assert any("no signal “settled” came in time" in event.detail for event in run.events.filter(kind="note"))


def test_a_signal_at_the_last_moment_counts(make_run, worker, later, people, monkeypatch):
    """The worker has taken the run at its timeout, and the signal commits before it says so."""
    from engine import pausing

    run = _waiting(make_run, worker, later)
    real = pausing.timed_out

    def late(stretch, ctx):
        signals.send(run.pk, by=people.alice, name="settled", payload="just in time")
        return real(stretch, ctx)

    monkeypatch.setattr(pausing, "timed_out", late)
    later("4 days", run)
    later("4 days", run)
    assert "signal just in time" in calls


def test_a_wait_without_a_way_out_fails_and_a_retry_goes_on_without_the_signal(make_run, worker, later, people):
    run = make_run("t-wait", size=1)
    worker(run)
    later("2 hours", run)
    assert (run.status, run.error["type"], run.error["step"]) == ("failed", "WaitTimedOut", "hark")
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert run.checkpoints.filter(step="hark").count() == 1


def test_without_a_timeout_it_waits_for_ever(make_run, worker, later):
    run = make_run("t-wait", size=0)
    worker(run)
    later("3 years", run)
    assert (run.status, run.signal_name, run.available_at.year) == ("queued", "go", 9999)


def test_a_held_run_takes_its_signal_and_goes_on_when_it_is_released(make_run, worker, people):
    run = make_run("t-wait", size=0)
    worker(run)
    controls.hold(run.pk, by=people.alice)
    signals.send(run.pk, by=people.alice, name="go", payload=7)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.step) == ("held", "went")
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_wait_that_a_deadline_ended_goes_on_waiting_after_a_retry(make_run, worker, people):
    run = make_run("t-wait", size=0)
    worker(run)
    Run.objects.filter(pk=run.pk).update(deadline_at="2020-01-01T00:00Z")
    sweeper.Sweeper().end_overdue()
    controls.retry(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.signal_name) == ("queued", "go")
    signals.send(run.pk, by=people.alice, name="go", payload=1)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_sleeping_run_is_cancelled_and_held_at_once(make_run, worker, people):
    run = make_run("t-pausing", size=1)
    worker(run)
    controls.hold(run.pk, by=people.alice)
    run.refresh_from_db()
    assert run.status == "held"
    controls.release(run.pk, by=people.alice)
    run.refresh_from_db()
    assert (run.status, (run.available_at - run.updated_at).total_seconds() > 3000) == ("queued", True)
    controls.cancel(run.pk, by=people.alice)
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_what_slept_through_an_outage_is_rung_for_in_the_order_of_its_time(make_run, worker, quiet_bells):
    runs = [make_run("t-pausing", size=1) for _ in range(3)]
    for run in runs:
        worker(run)
    for minutes, run in zip((30, 10, 20), runs, strict=True):
        Run.objects.filter(pk=run.pk).update(available_at=f"2020-01-01T00:{minutes}Z")
    quiet_bells.clear()
    sweeper.Sweeper().ring()
    assert quiet_bells == [runs[1].pk, runs[2].pk, runs[0].pk]


def test_each_branch_waits_for_its_own_signal(make_run, worker, people):
    script["part"] = lambda state, ctx, arg: Wait(f"paid-{arg}", goto="further", updates={"total": arg})
    run = make_run("t-fan", size=2)
    worker(run)
    signals.send(run.pk, by=people.alice, name="paid-1", payload=None)
    worker(run)
    run.refresh_from_db()
    assert (run.status, [call for call in calls if "further" in call]) == ("running", ["further 1 [] 1"])
    signals.send(run.pk, by=people.alice, name="paid-0", payload=None)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_branch_that_sleeps_last_is_done_afterwards(make_run, worker, later):
    script["part"] = lambda state, ctx, arg: Sleep("1h", updates={"found": ["late"]})
    run = make_run("t-fan", size=2)
    worker(run)
    later("2 hours", run)
    assert run.status == "succeeded"
    assert run.checkpoints.order_by("-seq").first().values()["found"] == ["late", "late"]


@pytest.mark.parametrize(
    ("name", "payload", "field"), [("", 1, "name"), ("a\0", 1, "name"), ("x" * 201, 1, "name"), ("go", "x" * 70_000, "payload")]
)
def test_a_malformed_signal_is_refused_by_field(make_run, people, name, payload, field):
    run = make_run("t-wait")
    with pytest.raises(InputInvalid) as refused:
        signals.send(run.pk, by=people.alice, name=name, payload=payload)
    assert list(refused.value.errors) == [field]
    assert not Signal.objects.exists()


def test_signals_need_an_operator_and_an_unfinished_run(make_run, worker, people):
    run = make_run("t-line")
    with pytest.raises(NotPermitted):
        signals.send(run.pk, by=people.dave, name="go")
    worker(run)
    with pytest.raises(MoveRefused):
        signals.send(run.pk, by=people.alice, name="go")


@pytest.mark.parametrize("wrong", [lambda: Sleep(), lambda: Sleep("1h", until=1), lambda: Sleep(until="tomorrow"),
                                   lambda: Wait(""), lambda: Wait("x", on_timeout="late")])  # fmt: skip
def test_a_malformed_pause_says_what_was_expected(wrong):
    with pytest.raises(ValueError, match=r"expected|either|needs|signal"):
        wrong()


assert part_flows
