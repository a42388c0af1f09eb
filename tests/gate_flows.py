"""Workflows for what is done at gates: two levels, policies given by a test, facts that grow stale."""

from pydantic import BaseModel

from tests.flows import Counter, Pay, calls, script
from workflows import Ask, NotHappened, Policy, Proposal, Transient, Workflow, WorkingHours

levels = Workflow("t-levels", state=Counter, version="1")


@levels.gate(policy=Policy(approvers=["group:finance"]), on_reject="next")
def manager(state):
    return Proposal("First level", action=Pay(amount=state.amount))


@levels.gate(
    policy=Policy(approvers=["group:finance", "user:carol"], distinct_from=["manager"]),
    verdicts=["approve", "respond"], on_respond="manager",
)  # fmt: skip
def director(state):
    return Proposal("Second level")


@levels.step
def levelled(state):
    calls.append("levelled")


# Asks under the policy, or the list of policies, that the test has put into the script.
ruled = Workflow("t-ruled", state=Counter, version="1")


@ruled.step(then=["decide_", "settled"])
def decide_(state, ctx):
    policies = script["policy"]
    policies = policies if isinstance(policies, list) else [policies]
    verdicts = ["approve", "edit", "reject", "respond"]
    return [
        Ask(Proposal(f"Question {number}", action=Pay(amount=state.amount)), key=f"ask-{number}", policy=policy,
            verdicts=verdicts, on_respond="decide_", on_reject="next")
        for number, policy in enumerate(policies, 1)
    ]  # fmt: skip


@ruled.step
def settled(state, ctx):
    calls.append("settled")
    return {"answer": " ".join(decision.verdict for _, decision in sorted(ctx.decisions.items()))}


class Price(BaseModel):
    amount: int


def look_again(state, ctx):
    """What the price is now, by the script; None says that it is as it was."""
    calls.append(f"look again at {state.amount}")
    found = script.get("price")
    if callable(found):
        found = found()
    return None if found is None else _offer(found)


def _offer(amount):
    return Proposal(f"Buy for {amount}", action=Price(amount=amount))


fresh = Workflow("t-fresh", state=Counter, version="1")


@fresh.gate(policy=Policy(approvers=["group:finance"], timeout="1h"), verdicts=["approve", "edit", "reject"],
            revalidate=look_again)  # fmt: skip
def offer(state):
    return _offer(state.amount)


@fresh.effect(approved_by="offer", verify=lambda state, ctx: NotHappened(), settle=0)
def buy(state):
    calls.append(f"buy {state.amount}")


def flaky_price():
    script["price"] = None
    raise Transient("the price list is away")


chosen = Workflow("t-chosen", state=Counter, version="1")


def by_amount(state):
    named = script.get("approvers")
    return named(state) if callable(named) else ["user:bob" if state.amount < 100 else "role:admin"]


@chosen.gate(policy=Policy(approvers=by_amount))
def whoever(state):
    return Proposal("Somebody is chosen by the state")


OFFICE = WorkingHours(zone="Europe/Berlin", holidays="DE")
