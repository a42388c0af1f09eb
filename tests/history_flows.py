"""Workflows for what is done with histories: secrets, schema versions, large values, forks."""

from typing import Annotated

from pydantic import BaseModel

from tests.flows import Counter, calls, script
from workflows import Append, Ask, Merge, NotHappened, Policy, Proposal, Secret, Sleep, State, Transient, Workflow


class Card(BaseModel):
    number: Annotated[str, Secret]
    holder: str = ""


class Vault(State):
    n: int = 0
    token: Annotated[str, Secret] = ""
    spare: Annotated[str, Secret] | None = None
    cards: list[Card] = []
    said: str = ""


secretive = Workflow("t-secret", state=Vault, version="1")


@secretive.step
def whisper(state, ctx):
    ctx.log(f"got {state.token}", token=state.token, deep={"in": [state.token]})
    calls.append(f"whisper {state.token}")
    return {"n": 1, "spare": f"spare of {state.token}"}


@secretive.gate(policy=Policy(approvers=["group:finance"]))
def confide(state):
    return Proposal(f"May we use {state.token}?", f"it is {state.token}", context=["n", "token", "said"])


@secretive.step
def shout(state):
    act = script.pop("shout", None)
    if act == "raise":
        raise RuntimeError(f"the key {state.token} and {state.spare} do not work")
    return {"n": 2, "cards": [Card(number="4111-1111", holder="ann")]}


class Big(State):
    n: int = 0
    document: str = ""
    messages: Annotated[list[dict[str, str]], Append] = []
    facts: Annotated[dict[str, str], Merge] = {}


growing = Workflow("t-big", state=Big, version="1")


@growing.step
def grow(state, ctx):
    act = script.get("grow")
    updates = act(state) if callable(act) else {}
    return updates


twice = Workflow("t-twice", state=Counter, version="1")


@twice.step
def think(state):
    calls.append("think")
    return {"log": ["thought"]}


@twice.effect(needs=["amount"], verify=lambda state: NotHappened(), settle=0)
def charge(state):
    calls.append(f"charge {state.amount}")
    return {"answer": f"charged {state.amount}", "log": ["charged"], "total": state.amount}


@twice.step
def between(state):
    calls.append("between")
    return {"n": state.n + 1}


@twice.effect
def mail(state):
    calls.append(f"mail {state.answer}")
    if script.get("mail") == "fail":
        raise Transient("the mail server is away")
    return {"log": ["mailed"]}


@twice.step
def done(state):
    calls.append("done")


resting = Workflow("t-rest", state=Counter, version="1", expires="2h", retention="30d")


@resting.step
def before(state):
    return {"log": ["before"]}


@resting.step
def doze(state):
    return Sleep(3600, updates={"n": 1})


@resting.step
def inquire(state):
    return Ask(Proposal("Go on?"), policy=Policy(approvers=["user:bob"]), updates={"n": 2})


@resting.step
def last(state, ctx):
    return {"answer": ctx.decision.verdict}
