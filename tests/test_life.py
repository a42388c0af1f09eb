"""The whole life of a run in random order, against a small model: which moves each act may lead to, and what always holds."""

import contextlib
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from approvals.models import Gate
from approvals.services.deciding import decide
from checkpoints import store
from console.run_page import timeline
from engine import advancing, lease, sweeper
from engine.services import controls, starting, workflow_holds
from engine.services.starting import InputInvalid
from runs import hot, reading
from runs.clock import offset_for_tests
from runs.models import Run, WorkflowHold
from runs.moves import FINAL
from runs.services.moves import MoveRefused
from tests.conftest import die, new_lease
from tests.flows import Counter as CounterState
from workflows import Ambiguous, Goto, Happened, NotHappened, Permanent, Policy, Proposal, Retry, Transient, Workflow

pytestmark = pytest.mark.django_db
# What a step does; the likelier is named more often. The end of a story (cancelled) is seldom.
BEHAVIOURS = [
    *("fine",) * 6, *("transient", "lost reply", "dies before", "dies after") * 3, "permanent", "is held", "is cancelled",
]  # fmt: skip
SELDOM = st.integers(0, 9).map(lambda number: number == 0)


class Killed(BaseException):
    """The worker's death: nothing catches it, and the transaction it was in is undone."""


class World:
    """What happened outside, and what each step is to do next."""

    def __init__(self) -> None:
        self.acted: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()
        self.script: list[str] = []
        self.people: Any = None
        self.monkeypatch: Any = None

    def behave(self, run_id: str, act: Any = None, status: str = "running") -> None:
        assert Run.objects.get(pk=run_id).status == status, "a step runs although its run does not"
        wanted = self.script.pop(0) if self.script else "fine"
        if wanted == "dies before":
            raise Killed
        if wanted in ("transient", "permanent"):
            raise {"transient": Transient, "permanent": Permanent}[wanted]("scripted")
        if wanted in ("is cancelled", "is held"):
            with contextlib.suppress(MoveRefused):  # it was asked for already
                (controls.cancel if wanted == "is cancelled" else controls.hold)(run_id, by=self.people.alice)
        if act is not None:
            act()
        if wanted == "dies after":
            raise Killed
        if wanted == "lost reply":
            raise Ambiguous("scripted")


world = World()
life = Workflow("t-life", state=CounterState, version="1", max_steps=200)
patient = Retry(attempts=4, backoff=0.1, cap=1)


@life.step(retry=patient)
def begin(state, ctx):
    world.behave(ctx.run_id)
    return {"n": state.n + 1}


@life.gate(policy=Policy(approvers=["group:finance"], timeout="1h", on_timeout="approve"), on_reject="begin")
def consent(state):
    return Proposal(f"Round {state.n}?")


def look(state, ctx):
    return Happened({"answer": "found"}) if world.acted[ctx.idempotency_key] else NotHappened()


@life.effect(approved_by="consent", verify=look, settle=2, retry=patient)
def act(state, ctx):
    world.behave(ctx.run_id, lambda: world.acted.update([ctx.idempotency_key]))
    return {"answer": "acted"}


@life.step(then=["begin", "end"], retry=patient)
def again(state, ctx):
    world.behave(ctx.run_id)
    return Goto("begin") if state.n < 4 else Goto("end")


ANYWHERE = {"queued", "waiting", "held", "failed", "succeeded", "rejected", "cancelled", "running"}
# What each act may lead to, beside leaving the run as it is.
MODEL = {
    "work": {("queued", to) for to in ANYWHERE},
    "sweep": {
        ("running", "queued"),
        ("running", "failed"),
        ("running", "held"),
        ("running", "cancelled"),
        ("waiting", "queued"),
    },
    "decide": {("waiting", "queued"), ("waiting", "rejected")},
    "hold": {("queued", "held"), ("waiting", "held")},
    "release": {("held", "queued"), ("held", "waiting")},
    "cancel": {(status, "cancelled") for status in ("queued", "waiting", "held")},
    "retry": {("failed", "queued")},
    "breakpoint": set(),
    "hold workflow": set(),
    "time": set(),
}


def as_shown(row: Any) -> Any:
    bars = tuple((bar.kind, round(bar.start), bar.end is not None and round(bar.end)) for bar in row.bars)
    return (row.seq, row.step, row.state, bars, tuple(entry["seq"] for entry in row.entries))


class Life(RuleBasedStateMachine):
    workflow, model = "t-life", MODEL

    def __init__(self) -> None:
        super().__init__()
        offset_for_tests("")
        self.seconds, self.followed, self.shown = 0, -1, list[Any]()
        world.acted.clear()
        world.undone.clear()
        world.script.clear()
        WorkflowHold.objects.all().delete()
        self.new_worker()
        self.run, _ = starting.start(workflow=self.workflow, input={}, by=world.people.alice)

    def new_worker(self) -> None:
        key, self.lease = new_lease()
        world.monkeypatch.setattr(lease, "hold", lambda: key)

    def status(self) -> str:
        return str(Run.objects.get(pk=self.run.pk).status)

    def do(self, name: str, act: Any) -> None:
        before = self.status()
        try:
            act()
        except (MoveRefused, InputInvalid, workflow_holds.HoldRefused):
            assert self.status() == before, f"{name} was refused, and yet changed the run"
        after = self.status()
        assert before == after or (before, after) in self.model[name], f"{name}: {before} → {after}"

    @rule(script=st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=4))
    def work(self, script: list[str]) -> None:
        """A worker carries the run on; its steps behave as scripted, and it may die in them."""
        world.script[:] = script
        self.do("work", self._advance)
        world.script.clear()

    @rule(script=st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=4))
    def an_hour(self, script: list[str]) -> None:
        """Time goes on, the sweeper looks, people agree, a worker takes what is due."""
        self.time(3)
        self.sweep()
        if Gate.objects.filter(run=self.run).open().exists():
            self.decide("approve")
        self.work(script)

    @rule(script=st.lists(st.sampled_from(BEHAVIOURS), min_size=2, max_size=6))
    def a_bad_day(self, script: list[str]) -> None:
        """The same again and again, a mishap each time."""
        for mishap in script:
            self.an_hour([mishap])

    def _advance(self) -> None:
        try:
            advancing.advance(self.run.pk)
        except Killed:
            die(self.lease)
            self.new_worker()

    @rule()
    def sweep(self) -> None:
        self.do("sweep", lambda: [sweeper.Sweeper().sweep() for _ in range(2)])

    @precondition(lambda self: Gate.objects.filter(run=self.run).open().exists())
    @rule(verdict=st.sampled_from(["approve", "approve", "reject"]))
    def decide(self, verdict: str) -> None:
        gate = Gate.objects.filter(run=self.run).open().get()
        seen = {"version": gate.version, "proposal_hash": gate.proposal_hash, "channel": "api"}
        self.do("decide", lambda: decide(gate.pk, by=world.people.bob, verdict=verdict, **seen))

    @rule(seconds=st.sampled_from([1, 3, 4000]))
    def time(self, seconds: int) -> None:
        """The clock goes on: retries come due, settling ends, gates reach their timeout."""
        self.seconds += seconds
        self.do("time", lambda: offset_for_tests(f"{self.seconds} seconds"))

    @precondition(lambda self: self.status() not in FINAL)
    @rule()
    def hold(self) -> None:
        self.do("hold", lambda: controls.hold(self.run.pk, by=world.people.alice))

    @precondition(lambda self: self.status() == "held")
    @rule()
    def release(self) -> None:
        self.do("release", lambda: controls.release(self.run.pk, by=world.people.alice))

    @rule(really=SELDOM)
    def cancel(self, really: bool) -> None:
        if really:
            self.do("cancel", lambda: controls.cancel(self.run.pk, by=world.people.alice))

    @precondition(lambda self: self.status() == "failed")
    @rule()
    def retry(self) -> None:
        self.do("retry", lambda: controls.retry(self.run.pk, by=world.people.alice))

    @rule(step=st.sampled_from(["begin", "consent", "act", "again"]))
    def breakpoint(self, step: str) -> None:
        self.do("breakpoint", lambda: controls.set_breakpoint(self.run.pk, by=world.people.alice, step=step))

    @rule(really=SELDOM)
    def hold_workflow(self, really: bool) -> None:
        held = WorkflowHold.objects.filter(released_at=None).exists()
        move = workflow_holds.release if held else workflow_holds.hold
        if not (held or really):
            return
        self.do("hold workflow", lambda: move(self.workflow, by=world.people.alice))

    @invariant()
    def nothing_is_doubled(self) -> None:
        assert max(world.acted.values(), default=0) <= 1

    @invariant()
    def the_row_is_in_order(self) -> None:
        run = Run.objects.get(pk=self.run.pk)
        assert (run.finished_at is not None) == (run.status in FINAL)
        gates = Gate.objects.filter(run=run).open().count()
        assert gates == (run.status == "waiting") or (run.status == "held" and gates <= 1)
        ended, retried = run.events.filter(kind="ended").count(), run.events.filter(kind="retried").count()
        assert ended - retried == (run.status in FINAL)

    @invariant()
    def the_journal_is_whole(self) -> None:
        run = Run.objects.get(pk=self.run.pk)
        rows = [*run.events.values_list("seq", flat=True), *run.checkpoints.values_list("seq", flat=True)]
        assert sorted(rows) == list(range(run.seq + 1))
        proof = hot.rows(store.READ_PROVEN, {"run": run.pk, "seq": store.LARGEST})
        assert store.proven(run.pk, proof, bytes(run.digest)).values.get("n", 0) <= run.visit

    @invariant()
    def a_timeline_that_follows_shows_what_a_fresh_one_shows(self) -> None:
        """Rows come closed once, and never change after that."""
        run = Run.objects.get(pk=self.run.pk)
        news = reading.journal(run, after=self.followed, limit=1000)
        if not news:
            return
        live = timeline.rows(run, news)
        fresh = timeline.rows(run, reading.journal(run, limit=1000))
        self.followed = run.seq
        self.shown += [as_shown(row) for row in live if row.state != "open"]
        assert sorted(self.shown) == sorted(as_shown(row) for row in fresh if row.state != "open")
        assert [as_shown(row) for row in live if row.state == "open"] == [as_shown(row) for row in fresh if row.state == "open"]
        assert sorted(entry["seq"] for row in fresh for entry in row.entries) == list(range(run.seq + 1))

    def teardown(self) -> None:
        """Left alone by mishaps, the run comes to an end: none is ever lost."""
        try:
            self._come_to_an_end()
        finally:
            die(self.lease)
            offset_for_tests("")

    def _come_to_an_end(self) -> None:
        WorkflowHold.objects.filter(released_at=None).update(released_at="2020-01-01T00:00Z")
        for _ in range(60):
            if self.status() in FINAL:
                break
            if self.status() == "held":
                self.release()
            self.an_hour(["fine"])
        self.the_row_is_in_order()
        self.the_journal_is_whole()
        self.nothing_is_doubled()
        assert self.status() in FINAL
        assert self.status() != "succeeded" or sum(world.acted.values()) >= 1


def live(kind: type[Life], people: Any, monkeypatch: Any) -> None:
    """Play lives of that kind; more of them, and other ones each time, for ``make soak``."""
    monkeypatch.setattr(sweeper, "SETTLE_AFTER_START", 0.0)
    monkeypatch.setattr(sweeper.Sweeper, "cut_stuck_workers", lambda self: None)  # clocks are shifted here, processes are not
    world.people, world.monkeypatch = people, monkeypatch
    thorough = int(os.environ.get("HOLDFAST_CRASH_TIMES", "1"))
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=6 * min(thorough, 8), phases=(Phase.generate,),
            stateful_step_count=20, deadline=None, derandomize=thorough == 1, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_the_life_of_a_run(people, monkeypatch):
    live(Life, people, monkeypatch)
