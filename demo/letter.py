"""Have a letter printed and posted by a shop that takes no idempotency key and cannot be asked: a person has to know."""

from typing import Annotated, Any

from pydantic import Field

from demo import client
from workflows import Ctx, State, Workflow


class Letter(State):
    to: Annotated[str, Field(min_length=1, max_length=200, description="Name and address")]
    text: Annotated[str, Field(min_length=1, max_length=5000)]
    trouble: Annotated[float, Field(ge=0, le=1, description="1: the shop prints the letter, and its reply is lost")] = 0
    lines: int = 0
    receipt: str | None = None


letter = Workflow("letter", state=Letter, version="1")


@letter.step
def set_type(state: Letter, ctx: Ctx) -> dict[str, Any]:
    return {"lines": len(state.text.splitlines())}


@letter.effect(needs=["to", "text", "trouble"])
def post(state: Letter, ctx: Ctx) -> dict[str, Any]:
    body = {"to": state.to, "text": state.text}
    ctx.save({"sent": "POST /letters", "to": state.to})  # shown to whoever is asked what happened
    return {"receipt": client.call("POST", "/letters", json=body, headers={"X-Lose": str(state.trouble)})["id"]}


@letter.step
def note_down(state: Letter, ctx: Ctx) -> None:
    ctx.log("posted", to=state.to, receipt=state.receipt)
