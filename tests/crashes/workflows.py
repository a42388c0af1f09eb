"""What the crash matrix carries: an effect with a key, one without, and one that cannot be looked up."""

from typing import Annotated, Any

from demo import client
from workflows import (
    Append,
    Ctx,
    FanOut,
    Happened,
    NotHappened,
    Partly,
    Policy,
    Proposal,
    Retry,
    Sleep,
    State,
    Workflow,
)

SIZE = 10  # records in one unkeyed effect
PARTS = 3  # branches, each with an effect


class Parcel(State):
    name: str
    stale: float = 0.0
    late: float = 0.0
    written: list[str] = []
    log: Annotated[list[str], Append] = []


pay = Workflow("crash-pay", state=Parcel, version="1")


@pay.step
def prepare(state: Parcel) -> dict[str, Any]:
    return {"log": ["prepared"]}


@pay.gate(policy=Policy(approvers=["group:finance"], timeout="1h", on_timeout="approve"))
def consent(state: Parcel) -> Proposal:
    return Proposal(f"Pay {state.name}?")


def find_refund(state: Parcel, ctx: Ctx) -> Happened | NotHappened:
    found = client.call("GET", "/payments/refunds", params={"key": ctx.idempotency_key})["items"]
    return Happened({"log": ["found"]}) if found else NotHappened()


@pay.effect(approved_by="consent", verify=find_refund, settle=0.05, retry=Retry(attempts=5, backoff=0))
def refund(state: Parcel, ctx: Ctx) -> dict[str, Any]:
    # no Idempotency-Key header: a second POST would be a second refund, so that only verify stands between
    body = {"order": state.name, "key": ctx.idempotency_key}
    client.call("POST", "/payments/refunds", json=body, headers={"X-Late": str(state.late)})
    return {"log": ["paid"]}


@pay.step
def tell(state: Parcel) -> dict[str, Any]:
    return {"log": ["told"]}


late = Workflow("crash-late", state=Parcel, version="1")
late.effect(name="refund", verify=find_refund, settle=6.0, retry=Retry(attempts=5, backoff=0))(refund)

contacts = Workflow("crash-contacts", state=Parcel, version="1")


def emails(state: Parcel) -> list[str]:
    return [f"{number}@{state.name}" for number in range(SIZE)]


def find_contacts(state: Parcel, ctx: Ctx) -> Happened | NotHappened | Partly:
    headers = {"X-Stale": str(state.stale)}
    found = [
        email
        for email in emails(state)
        if client.call("GET", "/crm/contacts", params={"email": email}, headers=headers)["items"]
    ]
    if len(found) == SIZE:
        return Happened({"written": found})
    return Partly({"written": found}) if found else NotHappened()


@contacts.effect(verify=find_contacts, settle=0.4, retry=Retry(attempts=5, backoff=0))
def write(state: Parcel, ctx: Ctx) -> dict[str, Any]:
    for email in emails(state):
        if email not in state.written:
            client.call("POST", "/crm/contacts", json={"email": email})
    return {"written": emails(state)}


@contacts.step
def count(state: Parcel) -> dict[str, Any]:
    return {"log": [f"{len(state.written)} written"]}


letter = Workflow("crash-letter", state=Parcel, version="1")


@letter.effect(retry=Retry(attempts=5, backoff=0))
def post(state: Parcel, ctx: Ctx) -> dict[str, Any]:
    ctx.save({"sent": "POST /letters"})
    client.call("POST", "/letters", json={"to": state.name})
    return {"log": ["posted"]}


parts = Workflow("crash-parts", state=Parcel, version="1")


@parts.step(then=["ship"])
def send(state: Parcel) -> FanOut:
    return FanOut("ship", range(PARTS))


def find_part(state: Parcel, ctx: Ctx, number: int) -> Happened | NotHappened:
    found = client.call("GET", "/payments/refunds", params={"key": ctx.idempotency_key})["items"]
    return Happened({"log": [found[0]["id"]]}) if found else NotHappened()


def void_part(state: Parcel, ctx: Ctx, number: int) -> None:
    client.call("POST", "/payments/voids", json={"refund": state.log[-1], "order": f"{number}@{state.name}"})


@parts.branch(verify=find_part, compensate=void_part, settle=0.05, retry=Retry(attempts=5, backoff=0))
def ship(state: Parcel, ctx: Ctx, number: int) -> dict[str, Any]:
    body = {"order": f"{number}@{state.name}", "key": ctx.idempotency_key}
    return {"log": [client.call("POST", "/payments/refunds", json=body)["id"]]}


@parts.step
def receive(state: Parcel, ctx: Ctx) -> Sleep:
    assert len(state.log) == len(ctx.branches) == PARTS
    return Sleep(0.05)


@parts.step
def close(state: Parcel) -> None:
    """After the night."""
