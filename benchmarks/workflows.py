"""Workflows and a bare task for the measurements."""

import time

from celery import shared_task

from workflows import Goto, Policy, Proposal, State, Workflow


class Payload(State):
    payload: str = "x" * 1000
    n: int = 0
    steps: int = 5
    began: float = 0.0


boundaries = Workflow("bench-boundaries", state=Payload, version="1")


@boundaries.step(then=["work", "end"])
def work(state: Payload) -> Goto:
    return Goto("work" if state.n + 1 < state.steps else "end", n=state.n + 1, payload=f"{state.n:04}" + state.payload[4:])


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


@shared_task(name="bench.bare", ignore_result=True)
def bare(sent: float, path: str) -> None:
    """What a Celery task costs that does nothing: its first line takes the time."""
    took = time.monotonic() - sent
    with open(path, "a") as file:  # noqa: PTH123 - the cheapest thing there is
        file.write(f"{took}\n")
