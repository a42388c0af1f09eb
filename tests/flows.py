"""Workflows that only the suite uses."""

from typing import Annotated

from pydantic import BaseModel

from workflows import (
    Add,
    Append,
    Ask,
    End,
    Goto,
    Happened,
    NotHappened,
    Partly,
    Permanent,
    Policy,
    Proposal,
    Retry,
    State,
    Transient,
    Unknown,
    Workflow,
)

calls: list[str] = []  # what ran in this process, in order; a fixture empties it
script: dict[str, object] = {}  # what a scripted step is to do next


class Counter(State):
    n: int = 0
    total: Annotated[int, Add] = 0
    log: Annotated[list[str], Append] = []
    until: int = 3
    amount: int = 0
    answer: str = ""


line = Workflow("t-line", state=Counter, version="1")


@line.step
def one(state, ctx):
    calls.append("one")
    ctx.usage(model="m", input_tokens=10, output_tokens=5, cost_usd=0.01)
    ctx.log("in one", n=state.n)
    return {"log": ["one"], "total": 2}


@line.step
async def two(state):
    calls.append("two")
    return {"log": ["two"], "total": 3}


@line.step
def three(state):
    calls.append("three")


loop = Workflow("t-loop", state=Counter, version="1")


@loop.step(then=["again", "end"])
def again(state):
    if state.n + 1 >= state.until:
        return End(n=state.n + 1)
    return Goto("again", n=state.n + 1)


@loop.step
def never(state):
    raise AssertionError("End() was passed over")


flaky = Workflow("t-flaky", state=Counter, version="1")


@flaky.step(retry=Retry(attempts=3, backoff=0))
def unsure(state, ctx):
    calls.append(f"unsure {ctx.attempt}")
    failure = script.get("fail")
    if callable(failure):
        failure(state, ctx)
    if ctx.attempt <= int(str(script.get("failures", 0))):
        raise Transient("not now")
    return {"answer": "done"}


strict = Workflow("t-strict", state=Counter, version="1")


@strict.step(needs=["n"], retry=Retry(attempts=1))
def bad(state, ctx):
    return script["do"](state, ctx)  # type: ignore[operator]


bounded = Workflow("t-bounded", state=Counter, version="1", max_steps=3, max_cost_usd=1)


@bounded.step(then=["round_", "end"])
def round_(state, ctx):
    ctx.usage(cost_usd=state.amount / 100)
    return End() if state.n + 1 >= state.until else Goto("round_", n=state.n + 1)


class Pay(BaseModel):
    amount: int


gated = Workflow("t-gated", state=Counter, version="1")


@gated.step
def prepare(state):
    calls.append("prepare")
    return {"log": ["prepared"]}


@gated.gate(
    when=lambda state: state.amount >= 100,
    policy=Policy(approvers=["group:finance"], allow_self=False, timeout="1h", on_timeout="reject"),
    verdicts=["approve", "edit", "reject", "respond"],
    on_respond="prepare",
)
def boss(state):
    return Proposal(f"Pay {state.amount}", "please **pay**", Pay(amount=state.amount), context=["log"])


@gated.effect(approved_by="boss", verify=lambda state, ctx: NotHappened(), settle=0)
def pay(state, ctx):
    calls.append(f"pay {state.amount}")
    decision = ctx.decisions.get("boss")
    return {"answer": decision.comment if decision else "", "total": state.amount}


quorum = Workflow("t-quorum", state=Counter, version="1")


@quorum.gate(policy=Policy(approvers=["group:finance", "user:carol"], quorum=2), verdicts=["approve", "edit", "reject"])
def both(state):
    return Proposal("Two are needed", action=Pay(amount=state.amount))


@quorum.step
def after_both(state):
    calls.append(f"after {state.amount}")


asking = Workflow("t-ask", state=Counter, version="1")


@asking.step
def ask(state):
    calls.append("ask")
    policy = Policy(approvers=["user:bob"])
    return [
        Ask(Proposal("First?"), policy=policy, on_reject="next", updates={"n": 1}),
        Ask(Proposal("Second?"), key="second", policy=policy, on_reject="next"),
    ]


@asking.step
def answered(state, ctx):
    return {"answer": " ".join(f"{key}={ctx.decisions[key].verdict}" for key in sorted(ctx.decisions))}


effect = Workflow("t-effect", state=Counter, version="1")


def verify(state, ctx):
    calls.append("verify")
    found = script.get("verify", "unknown")
    if callable(found):
        return found(state, ctx)
    return {"happened": Happened({"answer": "found"}), "not": NotHappened(), "unknown": Unknown("no idea"),
            "partly": Partly({"log": ["half"]})}[str(found)]  # fmt: skip


@effect.effect(verify=verify, settle=0, retry=Retry(attempts=3, backoff=0))
def act(state, ctx):
    calls.append(f"act {ctx.idempotency_key[:8]}")
    failure = script.pop("act", None)
    if callable(failure):
        failure()
    return {"answer": "acted"}


@effect.step
def after(state):
    calls.append("after")


def permanent() -> None:
    raise Permanent("never")


confirmed = Workflow("t-confirmed", state=Counter, version="1")


@confirmed.effect(verify=verify, confirm=True, settle=0.3, retry=Retry(attempts=2, backoff=0))
def send(state, ctx):
    calls.append(f"act {ctx.idempotency_key[:8]}")
    return {"answer": "sent"}


checked = Workflow("t-checked", state=Counter, version="1")


@checked.effect(verify=verify, check_first=True, settle=0)
def ensure(state, ctx):
    calls.append("act")
    return {"answer": "made"}


hurried = Workflow("t-hurried", state=Counter, version="1", deadline="1h")


@hurried.gate(when=lambda state: state.amount > 0, policy=Policy(approvers=["group:finance"]))
def consent(state):
    return Proposal("May it go on?")


@hurried.effect(verify=verify, settle=0)
def hurry(state, ctx):
    calls.append("act")


@hurried.step
def rest(state):
    calls.append("rest")
