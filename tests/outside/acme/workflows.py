"""An author's workflow from outside the repository: the documentation's example, but for its payments."""

from typing import Annotated

from pydantic import BaseModel

from workflows import Append, Happened, NotHappened, Policy, Proposal, Retry, State, Workflow, escalate


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
