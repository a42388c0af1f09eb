"""Import contacts into a CRM that takes no idempotency keys: in batches, after somebody has agreed, each exactly once."""

import csv
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from demo import client
from workflows import Ctx, Goto, Happened, NotHappened, Partly, Policy, Proposal, Retry, State, Workflow

SHIPPED = Path(__file__).parent / "data" / "contacts.csv"
BATCH = 10


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
    at: int = 0
    written: list[str] = []


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


def find_batch(state: Contacts, ctx: Ctx) -> Happened | NotHappened | Partly:
    """Look every contact of the batch up: the CRM knows no keys, but it knows addresses."""
    batch = state.contacts[state.at : state.at + BATCH]
    headers = {"X-Stale": str(state.stale)}
    found = [
        one.email for one in batch if client.call("GET", "/crm/contacts", params={"email": one.email}, headers=headers)["items"]
    ]
    if len(found) == len(batch):
        return Happened({"at": state.at + len(batch), "written": []})
    return Partly({"written": found}) if found else NotHappened()


@contacts.effect(verify=find_batch, settle="5s", retry=Retry(attempts=8, backoff=0.2, cap=5))
def write(state: Contacts, ctx: Ctx) -> dict[str, Any]:
    headers = {"X-Fail": str(state.trouble / 2), "X-Lose": str(state.trouble / 2)}
    batch = state.contacts[state.at : state.at + BATCH]
    for number, contact in enumerate(batch):
        if contact.email not in state.written:
            client.call("POST", "/crm/contacts", json=contact.model_dump(), headers=headers if number == 0 else {})
    at = state.at + len(batch)
    ctx.progress(at / len(state.contacts), f"{at} of {len(state.contacts)} contacts")
    return {"at": at, "written": []}


@contacts.step(then=["write", "report"])
def more(state: Contacts, ctx: Ctx) -> Goto:
    """A step of its own, so that a batch that ``verify`` found written goes round the loop as well."""
    return Goto("write" if state.at < len(state.contacts) else "report")


@contacts.step
def report(state: Contacts, ctx: Ctx) -> None:
    ctx.log("imported", contacts=state.at)
