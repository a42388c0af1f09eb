"""Workflows in which parts get into trouble (test_parts_in_trouble.py)."""

from typing import Any

from tests.flows import calls, script
from tests.part_flows import Parts
from workflows import FanOut, Goto, NotHappened, Permanent, Retry, Send, Wait, Workflow


def look(state, ctx, *arg):
    found: Any = script.get("look", NotHappened())
    return found(state, ctx) if callable(found) else found


slow = Workflow("t-slow", state=Parts, version="1")


@slow.step
def go(state):
    return [Send("pay_slowly", number) for number in range(state.size)]


@slow.branch(verify=look, settle="5s", retry=Retry(attempts=3, backoff=0))
def pay_slowly(state, ctx, arg):
    calls.append(f"pay {arg}")
    act = script.get("pay")
    if callable(act):
        act(state, ctx, arg)
    return {"found": [f"paid {arg}"]}


@slow.step
def finished(state):
    calls.append("finished")


circling = Workflow("t-circling", state=Parts, version="1", max_cost_usd=5)


@circling.step
def send_out(state):
    return [Send("around", 0)]


@circling.branch
def around(state, ctx, arg):
    calls.append("around")
    ctx.usage(cost_usd=1)
    return Goto("around") if calls.count("around") < 40 else None


mixed = Workflow("t-mixed", state=Parts, version="1")


@mixed.step
def sort_out(state):
    return FanOut("sorted_out", range(2), on_failure="collect")


@mixed.branch(retry=Retry(attempts=1))
def sorted_out(state, ctx, arg):
    if arg:
        raise Permanent("bad")


@mixed.effect(retry=Retry(attempts=1))
def book_all(state, ctx):
    calls.append(f"join {len(ctx.branches)}")
    if len(calls) == 1:
        raise Permanent("bad amount")


@mixed.step
def hear(state):
    return Wait("heard")


@mixed.effect(retry=Retry(attempts=1))
def use(state, ctx):
    calls.append(f"signal {ctx.signal}")
    if len(calls) == 3:
        raise Permanent("bad amount")


late = Workflow("t-late", state=Parts, version="1", deadline="1h")


@late.effect(verify=look, settle=0)
def order(state):
    calls.append("order")
    return Wait("delivered", timeout="3d", on_timeout="complain", goto="unpack", updates={"total": 1})


@late.step
def unpack(state):
    calls.append("unpack")


@late.step
def complain(state):
    calls.append("complain")
