"""Workflows and a bare task for the measurements."""

import random
import time
from pathlib import Path
from typing import Annotated

from celery import shared_task

from benchmarks.peers.measuring import message
from workflows import Append, Ctx, FanOut, Goto, Policy, Proposal, Retry, State, Transient, Workflow


class Payload(State):
    payload: str = "x" * 1000
    n: int = 0
    steps: int = 5
    began: float = 0.0


boundaries = Workflow("bench-boundaries", state=Payload, version="1")


@boundaries.step(then=["work", "end"])
def work(state: Payload) -> Goto:
    return Goto("work" if state.n + 1 < state.steps else "end", n=state.n + 1, payload=f"{state.n:04}" + state.payload[4:])


class Long(State):
    payload: str
    n: int = 0
    steps: int = 10
    grows: bool = False
    messages: Annotated[list[str], Append] = []


history = Workflow("bench-history", state=Long, version="1", max_steps=20_000)


@history.step(then=["again", "end"])
def again(state: Long) -> Goto:
    target = "again" if state.n + 1 < state.steps else "end"
    return Goto(target, n=state.n + 1, messages=[message(state.n)]) if state.grows else Goto(target, n=state.n + 1)


payloads: list[str] = []  # one a step, made before the timed part


class Durable(State):
    payload: str
    n: int = 0
    steps: int = 5
    rewrites: bool = True


durable = Workflow("bench-durable", state=Durable, version="1")


@durable.step(then=["rewrite_or_count", "end"])
def rewrite_or_count(state: Durable) -> Goto:
    n = state.n + 1
    target = "rewrite_or_count" if n < state.steps else "end"
    return Goto(target, n=n, payload=payloads[n]) if state.rewrites else Goto(target, n=n)


deciding = Workflow("bench-deciding", state=Payload, version="1")


@deciding.gate(policy=Policy(approvers=["user:bench"]))
def gate(state: Payload) -> Proposal:
    return Proposal("Go on?")


@deciding.step
def resumed(state: Payload) -> dict[str, float]:
    return {"began": time.monotonic()}


class Watched(State):
    path: str
    seconds: float


recovery = Workflow("bench-recovery", state=Watched, version="1")


def _watched(state: Watched, ctx: Ctx) -> None:
    """Writes down when the attempt began."""
    with Path(state.path).open("a") as file:
        file.write(f"{ctx.step} {ctx.attempt} {time.time()}\n")
    time.sleep(state.seconds if ctx.step == "third" else 0.01)


for _name in ("first", "second", "third", "fourth", "fifth"):
    recovery.step(name=_name)(_watched)


COST_STEPS, STEP_SECONDS, FAILS = 5, 0.2, 0.2
TWELVE = Retry(attempts=12, backoff=0)


class Priced(State):
    seed: int


def _pay_for(ctx: Ctx, draw: str) -> None:
    """One model call: it costs, and then it may fail."""
    time.sleep(STEP_SECONDS)
    ctx.usage(model="m", input_tokens=1000, cost_usd=0.10)
    if random.Random(draw).random() < FAILS:
        raise Transient("the step failed after it was paid for")


restart = Workflow("bench-restart", state=Priced, version="1")


@restart.step(retry=TWELVE)
def all_five(state: Priced, ctx: Ctx) -> None:
    for number in range(COST_STEPS):
        _pay_for(ctx, f"{state.seed}/{number}/{ctx.attempt}")


resume = Workflow("bench-resume", state=Priced, version="1")


def _one_of_five(state: Priced, ctx: Ctx) -> None:
    _pay_for(ctx, f"{state.seed}/{ctx.step}/{ctx.attempt}")


for _number in range(COST_STEPS):
    resume.step(name=str(_number), retry=TWELVE)(_one_of_five)


@shared_task(name="bench.bare", ignore_result=True)
def bare(sent: float, path: str) -> None:
    """What a Celery task costs that does nothing: its first line takes the time."""
    took = time.monotonic() - sent
    with open(path, "a") as file:  # noqa: PTH123 - the cheapest thing there is
        file.write(f"{took}\n")


class Fan(State):
    size: int
    found: Annotated[list[int], Append] = []


fan_out = Workflow("bench-fan", state=Fan, version="1")


@fan_out.step(then=["part"])
def fan(state: Fan) -> FanOut:
    return FanOut("part", range(state.size))


@fan_out.branch
def part(state: Fan, ctx: Ctx, number: int) -> dict[str, list[int]]:
    return {"found": [number]}


@fan_out.step
def fan_in(state: Fan) -> None:
    assert len(state.found) == state.size
