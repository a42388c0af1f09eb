"""The life of a run with branches, a sleep and a roll back, in random order, against a small model."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from approvals.models import Gate
from approvals.services.deciding import decide
from engine.services import controls
from runs.models import Branch, Run
from runs.moves import FINAL, Status
from tests.part_flows import Parts
from tests.test_life import Life, live, patient, world
from workflows import FanOut, Goto, Happened, NotHappened, Sleep, Workflow

pytestmark = pytest.mark.django_db
SIZE = 3
parts_life = Workflow("t-parts-life", state=Parts, version="1", max_steps=200)


def look(state, ctx, *arg):
    return Happened({"found": ["looked up"]}) if world.acted[ctx.idempotency_key] else NotHappened()


def undo(state, ctx, *arg):
    assert world.acted[ctx.effect_key] == 1, "what never happened is undone"
    world.behave(ctx.run_id, lambda: world.undone.update([ctx.effect_key]), status="rolling_back")


@parts_life.step(then=["piece"], retry=patient)
def split(state, ctx):
    world.behave(ctx.run_id)
    return FanOut("piece", range(SIZE), max_parallel=2)


@parts_life.branch(verify=look, compensate=undo, settle=2, retry=patient)
def piece(state, ctx, arg):
    world.behave(ctx.run_id, lambda: world.acted.update([ctx.idempotency_key]))
    return Goto("nap", total=1) if arg == 1 else {"total": 1, "found": ["acted"]}


@parts_life.branch
def nap(state):
    return Sleep(2, updates={"found": ["slept"]})


@parts_life.step(retry=patient)
def gather(state, ctx):
    world.behave(ctx.run_id)
    assert [branch.ok for branch in ctx.branches] == [True] * SIZE
    return Sleep(2, updates={"summary": "gathered"})


@parts_life.effect(verify=look, compensate=undo, settle=2, retry=patient)
def act(state, ctx):
    world.behave(ctx.run_id, lambda: world.acted.update([ctx.idempotency_key]))


@parts_life.step(retry=patient)
def last(state, ctx):
    world.behave(ctx.run_id)


UNFINISHED = {str(status) for status in set(Status) - FINAL}
ANYTHING = {(before, str(after)) for before in UNFINISHED for after in Status}
STOPPED = {(before, after) for before in UNFINISHED for after in ("held", "cancelled", "running")}
MODEL = {
    "work": ANYTHING,
    "sweep": ANYTHING,
    "decide": {("waiting", "rolling_back"), ("waiting", "failed")},
    "hold": {(status, "held") for status in ("queued", "waiting", "running", "rolling_back")},
    "release": {("held", to) for to in ("queued", "waiting", "running", "rolling_back", "failed")},
    "cancel": {(status, "cancelled") for status in ("queued", "waiting", "held", "running")},
    "retry": {("failed", "queued"), ("failed", "running")},
    "roll back": {(str(status), "rolling_back") for status in set(Status) - {Status.ROLLED_BACK}},
    "breakpoint": set(),
    "hold workflow": set(),
    "time": set(),
}


class PartsLife(Life):
    workflow, model = "t-parts-life", MODEL

    @rule(script=st.lists(st.sampled_from(["fine", "fine", "fine", "transient", "dies before", "dies after"]), max_size=3))
    def hours(self, script: list[str]) -> None:
        """Most of the time little goes wrong."""
        for _ in range(3):
            self.an_hour(list(script))

    @rule(really=st.integers(0, 4).map(lambda number: number == 0))
    def roll_back(self, really: bool) -> None:
        if really:
            self.do("roll back", lambda: controls.roll_back(self.run.pk, by=world.people.carol))

    @precondition(lambda self: Gate.objects.filter(run=self.run).open().exists())
    @rule(verdict=st.sampled_from(["retry"]))
    def decide(self, verdict: str) -> None:
        """A compensation that keeps failing asks an operator."""
        gate = Gate.objects.filter(run=self.run).open().get()
        assert gate.kind == "undo"
        seen = {"version": gate.version, "proposal_hash": gate.proposal_hash, "channel": "api"}
        self.do("decide", lambda: decide(gate.pk, by=world.people.alice, verdict="retry", **seen))

    @rule(step=st.sampled_from(["split", "gather", "act", "last"]))
    def breakpoint(self, step: str) -> None:
        self.do("breakpoint", lambda: controls.set_breakpoint(self.run.pk, by=world.people.alice, step=step))

    @invariant()
    def the_row_is_in_order(self) -> None:
        run = Run.objects.get(pk=self.run.pk)
        assert (run.finished_at is not None) == (run.status in FINAL)
        gates = Gate.objects.filter(run=run).open().count()
        assert gates == (run.status == "waiting") or (run.status == "held" and gates <= 1)
        assert run.status != "rolled_back" or run.events.filter(kind="ended").latest("seq").seq == run.seq

    @invariant()
    def the_join_is_reached_once(self) -> None:
        run = Run.objects.get(pk=self.run.pk)
        assert run.checkpoints.filter(step="piece").count() <= 1
        if run.checkpoints.filter(step="piece").exists():
            assert Branch.objects.filter(run=run, status="succeeded").count() == SIZE

    @invariant()
    def nothing_is_undone_twice_in_the_journal(self) -> None:
        events = [event.as_entry()["detail"] for event in self.run.events.filter(kind="compensated")]
        keys = [event["effect_key"] for event in events]
        assert len(keys) == len(set(keys))

    @invariant()
    def nobody_is_beyond_max_parallel(self) -> None:
        assert Branch.objects.filter(run=self.run, status="running").count() <= 2

    def _come_to_an_end(self) -> None:
        super()._come_to_an_end()
        run = Run.objects.get(pk=self.run.pk)
        if run.status == "rolled_back":
            assert set(world.undone) == set(world.acted), "an effect was left, or one that never was is undone"
        if run.status == "succeeded":
            assert len(world.acted) == SIZE + 1


def test_the_life_of_a_run_with_parts(people, monkeypatch):
    live(PartsLife, people, monkeypatch)
