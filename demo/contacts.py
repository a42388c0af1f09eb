"""Import contacts into a CRM that takes no idempotency keys: once somebody has agreed, in parallel batches, each once."""

import csv
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from demo import client
from workflows import (
    Append,
    Ctx,
    FanOut,
    Happened,
    NotHappened,
    Partly,
    Permanent,
    Policy,
    Proposal,
    Retry,
    State,
    Workflow,
)  # fmt: skip

SHIPPED = Path(__file__).parent / "data" / "contacts.csv"
BATCH = 10
AT_ONCE = 4  # batches; the CRM bears no more


class Contact(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=200)]
    company: Annotated[str, Field(max_length=200)] = ""


class Contacts(State):
    contacts: Annotated[
        list[Contact], Field(max_length=10_000, description="Left empty, the 500 contacts that ship with the demo")
    ] = []
    trouble: Annotated[float, Field(ge=0, le=1, description="1: the CRM refuses or loses three batches of four")] = 0
    stale: Annotated[float, Field(ge=0, le=4, description="Seconds for which the CRM does not show what it has written")] = 0
    refused: Annotated[
        int | None, Field(ge=0, description="A batch, counted from 0, that the CRM turns away at first; retry the run then")
    ] = None
    written: Annotated[list[str], Append] = []


class ImportAction(BaseModel):
    count: int
    first: str
    last: str


contacts = Workflow("contacts", state=Contacts, version="1")


@contacts.step
def load(state: Contacts, ctx: Ctx) -> dict[str, Any] | None:
    if state.contacts:
        return None
    with SHIPPED.open(newline="") as file:
        return {"contacts": list(csv.DictReader(file))}


@contacts.step
def check(state: Contacts, ctx: Ctx) -> dict[str, Any]:
    """Each address once: the CRM would take a second one without a word."""
    unique = {contact.email.lower(): contact for contact in reversed(state.contacts)}
    ctx.log("checked", given=len(state.contacts), kept=len(unique))
    return {"contacts": list(reversed(unique.values()))}


@contacts.gate(policy=Policy(approvers=["group:finance"], timeout="3d", on_timeout="reject"))
def agree(state: Contacts) -> Proposal:
    first, last = state.contacts[0], state.contacts[-1]
    companies = len({contact.company for contact in state.contacts})
    summary = f"{len(state.contacts)} contacts of {companies} companies, from *{first.name}* to *{last.name}*, go into the CRM."
    action = ImportAction(count=len(state.contacts), first=first.email, last=last.email)
    return Proposal(f"Import {len(state.contacts)} contacts", summary, action)


@contacts.step(then=["write"])
def split(state: Contacts) -> FanOut:
    return FanOut("write", range(0, len(state.contacts), BATCH), max_parallel=AT_ONCE)


def find_batch(state: Contacts, ctx: Ctx, at: int) -> Happened | NotHappened | Partly:
    """Look every contact of the batch up that is not known to be written: the CRM knows no keys, but it knows addresses."""
    batch = [one.email for one in state.contacts[at : at + BATCH] if one.email not in state.written]
    headers = {"X-Stale": str(state.stale)}
    found = [email for email in batch if client.call("GET", "/crm/contacts", params={"email": email}, headers=headers)["items"]]
    if len(found) == len(batch):
        return Happened({"written": found})
    return Partly({"written": found}) if found else NotHappened()


@contacts.branch(verify=find_batch, settle="5s", retry=Retry(attempts=8, backoff=0.2, cap=5))
def write(state: Contacts, ctx: Ctx, at: int) -> dict[str, Any]:
    """One batch. What an earlier attempt has written it sees in ``state.written``, and leaves out."""
    if at == (state.refused or 0) * BATCH and state.refused is not None and ctx.attempt == 1:
        raise Permanent("the CRM turns this batch away")
    headers = {"X-Fail": str(state.trouble / 2), "X-Lose": str(state.trouble / 2)}
    batch = [one for one in state.contacts[at : at + BATCH] if one.email not in state.written]
    for number, contact in enumerate(batch):
        client.call("POST", "/crm/contacts", json=contact.model_dump(), headers=headers if number == 0 else {})
    return {"written": [contact.email for contact in batch]}


@contacts.step
def report(state: Contacts, ctx: Ctx) -> None:
    ctx.log("imported", contacts=len(state.written), batches=len(ctx.branches))
