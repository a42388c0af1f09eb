"""An author's workflow from outside the repository: the documentation's example, but for its payments."""

import os
import time
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import BaseModel

from workflows import (
    Append,
    FanOut,
    Goto,
    Happened,
    NotHappened,
    Policy,
    Proposal,
    Retry,
    Sleep,
    State,
    Wait,
    Workflow,
    escalate,
)


class payments:
    done: dict[str, str] = {}

    @classmethod
    def find(cls, key):
        return cls.done.get(key)

    @classmethod
    def refund(cls, order, amount, key):
        return cls.done.setdefault(key, f"receipt-{order}-{amount}")

    @classmethod
    def void(cls, receipt):
        cls.done = {key: value for key, value in cls.done.items() if value != receipt}


class Refund(State, schema_version=1):
    order: str
    amount: int
    risk: float = 0.0
    notes: Annotated[list[str], Append] = []
    receipt: str | None = None


class RefundAction(BaseModel):
    amount: int


refund = Workflow("acme-refund", state=Refund, version="1")


@refund.step(retry=Retry(attempts=5, backoff=1, cap=60), timeout=30)
def assess(state, ctx):
    ctx.usage(model="some-model", input_tokens=1200, output_tokens=300, cost_usd=0.0041)
    ctx.progress(0.5, "scoring")
    return {"risk": 0.82, "notes": ["velocity is high"]}


@refund.gate(
    when=lambda state: state.risk >= 0.7,
    policy=Policy(
        approvers=["group:finance"], quorum=1, allow_self=False,
        timeout="24h", on_timeout=escalate(["group:finance-leads"], timeout="4h", then="reject"), remind=["1h"],
    ),
    verdicts=["approve", "edit", "reject", "respond"], on_reject="end", on_respond="assess",
)  # fmt: skip
def manager(state):
    return Proposal(
        title=f"Refund {state.amount} for {state.order}",
        summary="…",
        action=RefundAction(amount=state.amount),
        context=["risk", "notes"],
    )


def find_refund(state, ctx):
    found = payments.find(ctx.idempotency_key)
    return Happened({"receipt": found}) if found else NotHappened()


@refund.effect(
    approved_by="manager",
    verify=find_refund,
    compensate=lambda state, ctx: payments.void(state.receipt),
    needs=["order", "amount"],
)
def pay(state, ctx):
    return {"receipt": payments.refund(state.order, state.amount, key=ctx.idempotency_key)}


class Turns(State):
    name: str
    rounds: int = 5
    pace: float = 0.15
    turns: Annotated[list[int], Append] = []


turns = Workflow("acme-turns", state=Turns, version="1")


def note(ctx, what):
    """A line for every time that a step's function runs, whatever becomes of its commit."""
    with (Path(os.environ["HOLDFAST_DATA_DIR"]) / "ran.log").open("a") as file:
        file.write(f"{ctx.run_id} {what}\n")


@turns.step(timeout=30, then=["turn", "enter"])
def turn(state, ctx):
    time.sleep(state.pace)
    number = len(state.turns)
    note(ctx, number)
    return Goto("turn" if number + 1 < state.rounds else "enter", turns=[number])


def find_entry(state, ctx):
    found = httpx.get(os.environ["HOLDFAST_SANDBOX_URL"] + "/crm/contacts", params={"email": state.name}).json()["items"]
    return Happened() if found else NotHappened()


@turns.effect(verify=find_entry, settle="0.5s", timeout=30)
def enter(state, ctx):
    note(ctx, "enter")
    httpx.post(os.environ["HOLDFAST_SANDBOX_URL"] + "/crm/contacts", json={"email": state.name})


class Nap(State):
    seconds: float = 0.0


nap = Workflow("acme-nap", state=Nap, version="1")


@nap.step(timeout=2)
def doze(state, ctx):
    note(ctx, f"doze {ctx.attempt}")
    time.sleep(state.seconds if ctx.attempt == 1 else 0)


@nap.step
def wake(state, ctx):
    note(ctx, "wake")


class Fan(State):
    size: int
    pause: float = 0.01
    results: Annotated[list[int], Append] = []


fan = Workflow("acme-fan", state=Fan, version="1")


@fan.step(then=["square"])
def split(state):
    return FanOut("square", range(state.size))


@fan.branch
def square(state, ctx, number):
    time.sleep(state.pause)
    return {"results": [number * number]}


@fan.step
def gather(state, ctx):
    assert len(ctx.branches) == state.size


class Call(State):
    seconds: float
    signal: dict[str, int] | None = None


call = Workflow("acme-call", state=Call, version="1")


@call.step
def rest(state):
    return Sleep(state.seconds)


@call.step
def listen(state):
    return Wait("go", timeout="1h")


@call.step
def heard(state, ctx):
    return {"signal": ctx.signal}


class Purchase(State):
    item: str
    amount: int
    bought: int = 0


class PurchaseAction(BaseModel):
    amount: int


story = Workflow("acme-story", state=Purchase, version="1")


@story.gate(
    policy=Policy(
        approvers=["group:finance"], quorum=2, timeout="2s",
        on_timeout=escalate(["role:operator"], timeout="2s", then=escalate(["role:admin"], timeout="4h", then="reject")),
    ),
    verdicts=["approve", "edit", "reject"],
)  # fmt: skip
def board(state):
    return Proposal(f"Buy {state.item}", "The old one is *worn*.", PurchaseAction(amount=state.amount), context=["amount"])


@story.step
def bought(state):
    return {"bought": state.amount}
