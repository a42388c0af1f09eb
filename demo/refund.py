"""Refund an order: score the risk, ask finance when it is high, pay once."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from demo import client
from workflows import Append, Ctx, Happened, NotHappened, Permanent, Policy, Proposal, Retry, Secret, State, Workflow, escalate


class Refund(State):
    order: Annotated[str, Field(min_length=1, max_length=100, description="The order's number, such as A-1042")]
    amount: Annotated[int, Field(gt=0, le=1_000_000, description="In whole euros")]
    reason: Annotated[str, Field(max_length=2000, description="What the customer said")] = ""
    unreliable: Annotated[float, Field(ge=0, le=1, description="1: it refuses or loses three payments of four")] = 0
    bounces: Annotated[bool, Field(description="The customer cannot be told; an admin may roll back then")] = False
    account: Annotated[
        str, Secret, Field(max_length=34, description="An IBAN to pay to. Encrypted, and masked wherever people look")
    ] = ""
    risk: float = 0.0
    notes: Annotated[list[str], Append] = []
    receipt: str | None = None


class RefundAction(BaseModel):
    amount: Annotated[int, Field(gt=0, le=1_000_000, description="In whole euros")]


refund = Workflow("refund", state=Refund, version="1")


@refund.step(retry=Retry(attempts=5, backoff=0.2, cap=5), timeout=30)
def assess(state: Refund, ctx: Ctx) -> dict[str, Any]:
    signals = {"the amount is high": state.amount >= 300, "the reason is short": len(state.reason) < 20}
    found = [text for text, holds in signals.items() if holds]
    ctx.usage(model="rules", input_tokens=180 + len(state.reason), output_tokens=40, cost_usd=0.0041)
    ctx.log("assessed", signals=len(found))
    return {"risk": round(0.31 + 0.33 * len(found), 2), "notes": found}


@refund.gate(
    when=lambda state: state.risk >= 0.6,
    policy=Policy(
        approvers=["group:finance"],
        allow_self=False,
        timeout="24h",
        on_timeout=escalate(["group:finance-leads"], timeout="4h", then="reject"),
    ),
    verdicts=["approve", "edit", "reject", "respond"],
    on_respond="assess",
)
def manager(state: Refund) -> Proposal:
    words = state.reason or "*The customer gave no reason.*"
    summary = f"The customer of order **{state.order}** asks for {state.amount} € back.\n\n> {words}"
    action = RefundAction(amount=state.amount)
    return Proposal(f"Refund {state.amount} € for {state.order}", summary, action, context=["risk", "notes"])


def find_refund(state: Refund, ctx: Ctx) -> Happened | NotHappened:
    found = client.call("GET", "/payments/refunds", params={"key": ctx.idempotency_key})["items"]
    return Happened({"receipt": found[0]["id"]}) if found else NotHappened()


def void(state: Refund, ctx: Ctx) -> dict[str, Any]:
    """Rolling back: the payment is taken back. It may be asked for twice; the service voids a refund once."""
    headers = {"Idempotency-Key": ctx.idempotency_key}
    voided = client.call("POST", "/payments/voids", json={"refund": state.receipt}, headers=headers)
    return {"void": voided["id"]}


@refund.effect(approved_by="manager", verify=find_refund, compensate=void, settle="1s", needs=["order", "amount", "unreliable"])
def pay(state: Refund, ctx: Ctx) -> dict[str, Any]:
    trouble = {"X-Fail": str(state.unreliable / 2), "X-Lose": str(state.unreliable / 2)}
    headers = {"Idempotency-Key": ctx.idempotency_key, **trouble}
    body = {"order": state.order, "amount": state.amount}
    return {"receipt": client.call("POST", "/payments/refunds", json=body, headers=headers)["id"]}


@refund.step
def tell(state: Refund, ctx: Ctx) -> dict[str, Any]:
    if state.bounces:
        raise Permanent("the customer's mailbox does not exist")
    return {"notes": [f"refunded {state.amount} €, receipt {state.receipt}"]}
