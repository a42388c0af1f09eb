"""Workflows of the suite with parallel parts, pauses and undoing."""

from typing import Annotated, Any

from pydantic import BaseModel

from tests.flows import calls, script
from workflows import (
    Add,
    Append,
    Ask,
    FanOut,
    Goto,
    Merge,
    Permanent,
    Policy,
    Proposal,
    Retry,
    Send,
    Sleep,
    State,
    Transient,
    Unknown,
    Wait,
    Workflow,
)


class Parts(State):
    size: int = 3
    parallel: int | None = None
    collect: bool = False
    amount: int = 0
    best: str = ""
    found: Annotated[list[str], Append] = []
    total: Annotated[int, Add] = 0
    by_index: Annotated[dict[str, int], Merge] = {}
    summary: str = ""


class Pay(BaseModel):
    amount: int


fan = Workflow("t-fan", state=Parts, version="1")


@fan.step(then=["part"])
def split(state):
    calls.append("split")
    mode = "collect" if state.collect else "fail"
    args = range(state.size)
    return FanOut("part", args, updates={"summary": "sent"}, max_parallel=state.parallel, on_failure=mode)


@fan.branch(retry=Retry(attempts=2, backoff=0))
def part(state, ctx, arg):
    calls.append(f"part {arg}")
    ctx.usage(model="m", input_tokens=1, cost_usd=0.01)
    act = script.get("part")
    found = act(state, ctx, arg) if callable(act) else None
    return {"found": [f"r{arg}"], "total": arg, "by_index": {str(arg): ctx.attempt}} if found is None else found


@fan.branch(then=[])
def further(state, ctx, arg):
    calls.append(f"further {arg} {state.found} {state.total}")
    return {"found": [f"further {arg}"]}


def seen(state, ctx, *arg):
    found: Any = script.get("verify", Unknown("no idea"))
    return found(state, ctx) if callable(found) else found


@fan.branch(verify=seen, settle=0, compensate=lambda state, ctx, arg: calls.append(f"undo {arg}"), retry=Retry(backoff=0))
def pay_part(state, ctx, arg):
    calls.append(f"pay {arg} {ctx.idempotency_key[:6]}")
    act = script.get("pay")
    if callable(act):
        act(state, ctx, arg)
    return {"found": [f"paid {arg}"]}


@fan.step
def join(state, ctx):
    calls.append("join")
    outcome = ",".join(f"{one.index}{'+' if one.ok else '-'}" for one in ctx.branches)
    return {"summary": f"{len(state.found)} results; {outcome}" if state.size < 20 else f"{len(state.found)} results"}


pausing = Workflow("t-pausing", state=Parts, version="1")


@pausing.step
def doze(state):
    calls.append("doze")
    return Sleep("1h", updates={"total": 1})


@pausing.step(then=["poll", "settle"])
def poll(state):
    calls.append("poll")
    return Sleep("10m", goto="poll", updates={"total": 1}) if state.total < state.size else Goto("settle")


@pausing.step
def settle(state):
    return Wait("settled", timeout="3d", on_timeout="late", updates={"summary": "waited"})


@pausing.step
def after_signal(state, ctx):
    calls.append(f"signal {ctx.signal}")
    return Goto("done", summary=str(ctx.signal))


@pausing.step
def late(state, ctx):
    return {"summary": f"late {ctx.signal}"}


@pausing.step
def done(state, ctx):
    assert ctx.signal is None
    calls.append("done")


plain_wait = Workflow("t-wait", state=Parts, version="1")


@plain_wait.step
def hark(state):
    return Wait("go", timeout="1h") if state.size else Wait("go")


@plain_wait.step
def went(state, ctx):
    return {"summary": str(ctx.signal)}


saga = Workflow("t-saga", state=Parts, version="1")


def undo(name):
    def compensate(state, ctx, *arg):
        calls.append(f"undo {name} {state.total}")
        script.setdefault("keys", []).append((ctx.effect_key, ctx.idempotency_key))  # type: ignore[attr-defined]
        act = script.get(f"undo {name}")
        if callable(act):
            act(state, ctx)
        return {"voided": name}

    return compensate


effect = saga.effect(name="book", verify=seen, settle=0, compensate=undo("book"), retry=Retry(attempts=2, backoff=0))


@effect
def book(state, ctx):
    calls.append("book")
    script.setdefault("effects", []).append(ctx.idempotency_key)  # type: ignore[attr-defined]
    return {"total": 1}


@saga.step
def spread(state):
    return [Send("ship", number) for number in range(state.size)]


@saga.branch(verify=seen, settle=0, compensate=undo("ship"), retry=Retry(attempts=2, backoff=0))
def ship(state, ctx, arg):
    calls.append(f"ship {arg}")
    act = script.get("ship")
    if callable(act):
        act(state, ctx, arg)
    return {"total": 10}


@saga.effect
def mail(state):
    calls.append("mail")


@saga.gate(when=lambda state: state.amount > 0, policy=Policy(approvers=["group:finance"]), on_reject="roll_back")
def sure(state):
    return Proposal("Keep it?", action=Pay(amount=state.amount))


@saga.effect(verify=seen, settle=0, compensate=undo("charge"), retry=Retry(attempts=2, backoff=0))
def charge(state, ctx):
    calls.append("charge")
    act = script.get("charge")
    if callable(act):
        act(state, ctx)
    return {"total": 100}


@saga.step
def finish(state):
    calls.append("finish")


undone = Workflow("t-undone", state=Parts, version="1", on_failure="roll_back")
undone.effect(name="book", verify=seen, settle=0, compensate=undo("book"))(book)


@undone.step(retry=Retry(attempts=1))
def break_off(state):
    raise Permanent("no stock")


def ask_in_branch(state, ctx, arg):
    """Used as the script of ``part``: branch 1 asks people, the others go on."""
    if arg != 1:
        return None
    policy = Policy(approvers=["user:bob"])
    return Ask(Proposal(f"Part {arg}?"), policy=policy, goto="further", updates={"total": 7})


def failing(*indexes: int, times: int = 99) -> Any:
    """As the script of ``part``: these branches fail, so many times."""
    left = dict.fromkeys(indexes, times)

    def act(state, ctx, arg):
        if left.get(arg, 0) > 0:
            left[arg] -= 1
            raise Transient(f"part {arg} is not there")

    return act
