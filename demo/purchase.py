"""Buy something: two levels of people, a price that is looked at again after they have agreed, one order."""

import time
import zlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from demo import client
from workflows import Ctx, Happened, NotHappened, Policy, Proposal, State, Workflow, WorkingHours, escalate

STEADY = 600  # seconds for which a price stays as it is
BERLIN = WorkingHours(zone="Europe/Berlin", holidays="DE")


class Purchase(State):
    item: Annotated[str, Field(min_length=1, max_length=100, description="What is wanted, such as: a lathe")]
    quantity: Annotated[int, Field(gt=0, le=100)] = 1
    delivery: Literal["collect", "standard", "express"] = "standard"
    why: Annotated[str, Field(max_length=2000, description="What for")] = ""
    price: Annotated[int, Field(description="In whole euros, for one; looked up")] = 0
    order: str | None = None

    @property
    def total(self) -> int:
        return self.quantity * self.price


class Order(BaseModel):
    item: str
    quantity: Annotated[int, Field(gt=0, le=100)]
    delivery: Literal["collect", "standard", "express"]
    price: Annotated[int, Field(gt=0, description="In whole euros, for one")]


purchase = Workflow("purchase", state=Purchase, version="1")


def price_of(item: str) -> int:
    """What it costs now: the shop changes its mind every ten minutes."""
    moods = zlib.crc32(f"{item} {int(time.time() // STEADY)}".encode()) % 5
    return 100 + zlib.crc32(item.encode()) % 900 + 10 * moods


@purchase.step
def look_up(state: Purchase) -> dict[str, Any]:
    return {"price": price_of(state.item)}


@purchase.gate(
    policy=Policy(
        approvers=["group:finance"], allow_self=False, timeout="8h", remind=["1h"], hours=BERLIN, comment=["edit"],
        on_timeout=escalate(["role:admin"], timeout="8h", then="reject"),
    ),
    verdicts=["approve", "edit", "reject", "respond"],
    on_respond="look_up",
)  # fmt: skip
def budget(state: Purchase) -> Proposal:
    action = Order(item=state.item, quantity=state.quantity, delivery=state.delivery, price=state.price)
    words = state.why or "*Nobody said what for.*"
    return Proposal(f"Order {state.quantity} × {state.item} for {state.total} €", words, action, context=["price"])


def looked_at_again(state: Purchase) -> Proposal | None:
    """The price that people agree to is the price that is paid, or they are asked again."""
    now = price_of(state.item)
    if now <= state.price:
        return None
    again: Proposal = signature(state.model_copy(update={"price": now}))
    return again


@purchase.gate(
    when=lambda state: state.total >= 1000,
    policy=Policy(
        approvers=["group:finance", "role:admin"], quorum={"group:finance": 1, "role:admin": 1}, allow_self=False,
        distinct_from=["budget"], risk="high", timeout="2d", on_timeout="keep",
    ),
    verdicts=["approve", "reject"],
    revalidate=looked_at_again,
)  # fmt: skip
def signature(state: Purchase) -> Proposal:
    action = Order(item=state.item, quantity=state.quantity, delivery=state.delivery, price=state.price)
    title = f"Sign for {state.total} €: {state.quantity} × {state.item}"
    return Proposal(title, "Above 1,000 € two more people sign.", action, context=["price", "why"])


def find_order(state: Purchase, ctx: Ctx) -> Happened | NotHappened:
    found = client.call("GET", "/shop/orders", params={"key": ctx.idempotency_key})["items"]
    return Happened({"order": found[0]["id"]}) if found else NotHappened()


@purchase.effect(approved_by="signature", verify=find_order, settle="1s")
def place_order(state: Purchase, ctx: Ctx) -> dict[str, Any]:
    body = {"order": state.item, "quantity": state.quantity, "price": state.price}
    return {"order": client.call("POST", "/shop/orders", json=body, headers={"Idempotency-Key": ctx.idempotency_key})["id"]}
