"""The interleavings that simpler forms of the fence, the claim and the takeover lose."""

import threading
import time

import pytest
from django.db import connection, connections, transaction

from approvals.models import Gate
from approvals.services.deciding import decide
from approvals.services.opening import proposal_hash
from checkpoints import packing, store
from engine import boundary, claim
from engine.boundary import Fenced, Used
from engine.services import controls, takeover
from engine.sweeper import Sweeper
from runs.clock import Now
from runs.models import Run
from runs.services import moves
from tests import flows
from tests.conftest import die, in_the_way, kinds, new_lease, together

pytestmark = pytest.mark.django_db(transaction=True)


def taken(run, key=11):
    found = claim.take_hinted(run.pk, key)
    assert found is not None
    return found[0]


def commit(run, step="two"):
    since = packing.Since(version=1)
    packed = packing.pack(run.id, flows.Counter, run, None, since, next_step=step, step=run.step)
    boundary.commit(run, packed, used=Used())
    return run.started_at is not None


def test_of_many_claims_one_wins(make_run):
    run = make_run()
    results = together(8, lambda number: claim.take_hinted(run.pk, 100 + number))
    assert sorted(result is None for result in results) == [False] + [True] * 7
    run.refresh_from_db()
    assert run.claim == 1


def test_a_worker_that_lost_its_run_changes_nothing(make_run):
    run = make_run()
    stale = taken(run, 11)
    Run.objects.filter(pk=run.pk).update(status="queued", worker=None)
    fresh = taken(run, 12)
    before = kinds(run)
    with pytest.raises(Fenced):
        commit(stale)
    with pytest.raises(Fenced), boundary.fenced(stale):
        raise AssertionError("the fence let it through")
    with pytest.raises(Fenced):
        boundary.save(stale, {"x": 1})
    assert kinds(run) == before
    assert commit(fresh)


def test_a_boundary_sent_twice_commits_once(make_run):
    import copy

    run = make_run()
    mine = taken(run)
    again = copy.copy(mine)
    assert commit(mine)
    with pytest.raises(Fenced):
        commit(again)
    assert kinds(run) == ["checkpoint", "checkpoint one"]


def test_two_takeovers_take_once(make_run):
    run = make_run()
    key, held = new_lease()
    taken(run, key)
    row = Run.objects.get(pk=run.pk)
    assert takeover.take_over(run.pk, key, row.claim) is False  # its worker lives
    die(held)
    results = together(4, lambda _: takeover.take_over(run.pk, key, row.claim))
    assert sorted(results) == [False, False, False, True]
    assert kinds(run).count("worker_lost one") == 1


def test_a_takeover_that_looked_too_early_leaves_the_new_worker_alone(make_run):
    run = make_run()
    key, held = new_lease()
    first = taken(run, key)
    die(held)
    assert takeover.take_over(run.pk, key, first.claim)
    again = taken(run, key)  # even under the same key, the claim has moved on
    assert takeover.take_over(run.pk, key, first.claim) is False
    assert commit(again)


def test_three_lost_workers_stop_the_run(make_run):
    run = make_run()
    for _ in range(3):
        key, held = new_lease()
        mine = taken(run, key)
        die(held)
        assert takeover.take_over(run.pk, key, mine.claim)
    run.refresh_from_db()
    assert (run.status, run.error["type"]) == ("failed", "Poison")


def test_a_cancel_that_commits_while_the_boundary_waits_is_seen(make_run, people):
    run = make_run()
    mine = taken(run)
    with in_the_way(lambda: controls.cancel(run.pk, by=people.alice, reason="stop")):
        goes_on = commit(mine)  # waits for the row, then sees it as it now is
    assert goes_on is False
    row = Run.objects.get(pk=run.pk)
    assert (row.requested, row.step_started_at) == ("cancel", None)


def test_a_cancel_of_a_running_run_is_honoured_at_the_boundary(make_run, people, worker, monkeypatch):
    run = make_run()
    from tests import flows

    original = flows.line.steps["one"].function

    def cancel_meanwhile(state, ctx):
        result = original(state, ctx)
        controls.cancel(run.pk, by=people.alice, reason="enough")
        return result

    import dataclasses

    monkeypatch.setitem(flows.line.steps, "one", dataclasses.replace(flows.line.steps["one"], function=cancel_meanwhile))
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.reason, flows.calls) == ("cancelled", "enough", ["one"])
    assert kinds(run) == ["checkpoint", "note one", "checkpoint one", "cancelled two", "ended"]


def test_a_hold_at_the_last_step_keeps_its_result(make_run, people, worker, monkeypatch):

    from tests import flows

    run = make_run("t-flaky")
    flows.script["fail"] = lambda state, ctx: controls.hold(run.pk, by=people.alice) and None
    worker(run)
    run.refresh_from_db()
    assert (run.status, run.step) == ("held", "end")
    controls.release(run.pk, by=people.alice)
    worker(run)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_fifty_decisions_make_one_outcome_and_one_resume(make_gate, people, quiet_bells):
    gate = make_gate()
    gate.refresh_from_db()
    quiet_bells.clear()

    def act(number):
        by = people.bob if number % 2 else people.erin
        verdict = "approve" if number % 3 else "reject"
        return decide(gate.pk, by=by, verdict=verdict, version=gate.version, proposal_hash=gate.proposal_hash, channel="api")

    results = together(50, act)
    names = sorted(type(result).__name__ for result in results)
    assert names == ["Decision"] + ["GateClosed"] * 49
    run = Run.objects.get(pk=gate.run_id)
    assert kinds(run).count("decided boss") == 1
    assert len(quiet_bells) == (run.status == "queued")


def test_a_person_and_the_timer_at_one_moment_have_one_outcome(make_gate, people):
    from datetime import timedelta

    from approvals.services import clock

    for _ in range(5):
        gate = make_gate()
        gate.refresh_from_db()
        Gate.objects.filter(pk=gate.pk).update(due_at=Now() - timedelta(seconds=1))

        def act(number, gate=gate):
            if number:
                return clock.expire(gate.pk)
            return decide(gate.pk, by=people.bob, verdict="approve", version=1, proposal_hash=gate.proposal_hash, channel="api")

        person, timer = together(2, act)
        gate.refresh_from_db()
        person_won = type(person).__name__ == "Decision"
        assert (gate.outcome_by == "bob") is person_won
        assert timer is not person_won
        assert gate.decisions.count() == 1


def test_decide_against_cancel_never_deadlocks(make_gate, people):
    for _ in range(5):
        gate = make_gate()
        gate.refresh_from_db()

        def act(number, gate=gate):
            if number:
                return controls.cancel(gate.run_id, by=people.alice)
            return decide(gate.pk, by=people.bob, verdict="approve", version=1, proposal_hash=gate.proposal_hash, channel="api")

        results = together(2, act)
        assert {type(result).__name__ for result in results} <= {"Decision", "Run", "GateClosed"}
        assert Run.objects.get(pk=gate.run_id).status in ("cancelled", "queued")


def test_a_hundred_poisoned_gates_do_not_starve_the_rest(make_gate, monkeypatch):
    from datetime import timedelta

    from approvals.services import clock

    good = make_gate()
    template = Gate.objects.get(pk=good.pk)
    poisoned = []
    for number in range(100):
        copied = Gate.objects.get(pk=template.pk)
        copied.pk, copied.ordinal = None, number + 1
        copied.id = Gate._meta.get_field("id").get_default()
        copied.save(force_insert=True)
        poisoned.append(copied.pk)
    Gate.objects.update(due_at=Now() - timedelta(hours=1))
    Gate.objects.filter(pk=good.pk).update(due_at=Now() - timedelta(seconds=1))
    real = clock._fire
    monkeypatch.setattr("engine.sweeper.BATCH", 50)
    monkeypatch.setattr(clock, "_fire", lambda run, gate, now: 1 / 0 if gate.pk in poisoned else real(run, gate, now))
    sweeper = Sweeper()
    for _ in range(3):
        sweeper.fire_gates()
    good.refresh_from_db()
    assert good.status == "decided"


def test_the_sweeper_rings_for_what_nobody_took(make_run, quiet_bells):
    run = make_run()
    quiet_bells.clear()
    sweeper = Sweeper()
    sweeper.ring()
    sweeper.ring()
    assert quiet_bells == [run.pk]


def test_a_tail_of_three_writers_misses_nothing(make_run):
    from runs.models import Kind
    from runs.services import journal

    run = make_run()
    seen: list[int] = []
    stop = threading.Event()

    def tail():
        while not stop.is_set():
            seen.extend(Run.objects.get(pk=run.pk).events.filter(seq__gt=seen[-1] if seen else -1)
                        .order_by("seq").values_list("seq", flat=True))  # fmt: skip
        connections.close_all()

    reader = threading.Thread(target=tail)
    reader.start()

    def write(number):
        for _ in range(40):
            with transaction.atomic():
                journal.record(run.pk, journal.Entry(Kind.NOTE, detail={"text": str(number)}))

    together(3, write)
    time.sleep(0.2)
    stop.set()
    reader.join()
    assert seen == list(range(1, 121))


def test_the_digest_chain_links_every_entry(make_gate, answer, worker):
    import hashlib

    gate = make_gate()
    answer(gate, "bob", "approve")
    worker(gate.run)
    run = Run.objects.get(pk=gate.run_id)
    rows = sorted([*run.events.all(), *run.checkpoints.all()], key=lambda row: row.seq)
    digest = b""
    for row in rows:
        digest = hashlib.sha256(digest + row.seq.to_bytes(8, "big") + bytes(row.content_hash)).digest()
        assert bytes(row.digest) == digest
    assert bytes(run.digest) == digest


def test_a_flipped_byte_is_named_and_never_resumed_from(make_gate, answer, worker):
    gate = make_gate()
    run = Run.objects.get(pk=gate.run_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE checkpoints_checkpoint SET delta = set_byte(delta, 3, get_byte(delta, 3) # 1) "
            "WHERE run_id = %s AND seq = 1",
            [run.pk],
        )
    with pytest.raises(store.HistoryBroken, match="seq 1"):
        store.load(run.pk, run.seq)
    assert store.load(run.pk, 0).values["amount"] == 400
    Run.objects.filter(pk=run.pk).update(status="queued", available_at=Now())
    worker(run)
    run.refresh_from_db()
    assert run.status == "held"
    assert "seq 1" in run.reason


def test_a_status_moves_only_along_the_table(make_run):
    run = make_run()
    with transaction.atomic(), pytest.raises(moves.MoveRefused):
        moves.move(moves.lock(run.pk), "succeed")
    run.refresh_from_db()
    assert run.status == "queued"


def test_the_proposals_hash_does_not_depend_on_the_order_of_keys():
    base = {"title": "t", "summary": "", "verdicts": ["approve"], "context": {"a": 1, "b": {"x": 1, "y": 2}}}
    one = proposal_hash("s", {**base, "action": {"name": "n", "args": {"p": 1, "q": 2}}})
    two = proposal_hash(
        "s", {**base, "context": {"b": {"y": 2, "x": 1}, "a": 1}, "action": {"args": {"q": 2, "p": 1}, "name": "n"}}
    )
    assert one == two


@pytest.mark.parametrize("harm", ["DELETE FROM checkpoints_checkpoint WHERE run_id = %s AND seq = 1",
                                  "UPDATE runs_event SET content_hash = '\\x00' WHERE run_id = %s AND seq = 2"])  # fmt: skip
def test_a_history_with_a_missing_or_rewritten_row_is_not_resumed_from(make_gate, answer, worker, harm):
    gate = make_gate()
    with connection.cursor() as cursor:
        cursor.execute(harm, [gate.run_id])
    answer(gate, "bob", "approve")
    worker(gate.run)
    run = Run.objects.get(pk=gate.run_id)
    assert run.status == "held"
    assert f"seq {1 if 'DELETE' in harm else 2}" in run.reason


def test_an_edit_that_the_state_would_refuse_is_refused_at_once(make_gate, answer, monkeypatch):
    from approvals.refusals import InvalidDecision

    gate = make_gate("t-quorum", amount=7)
    Gate.objects.filter(pk=gate.pk).update(action={**gate.action, "schema": {"type": "object"}})
    with pytest.raises(InvalidDecision, match=r"args\.amount"):
        answer(gate, "bob", "edit", args={"amount": "much"})
    assert gate.decisions.count() == 0
