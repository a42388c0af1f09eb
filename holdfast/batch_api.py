"""Several gates decided in one call, each by itself. It needs the API's map of errors, once per item."""

import json
import uuid
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Body, NinjaAPI, Schema
from pydantic import Field

from approvals.api import create_decision
from approvals.schemas import DecisionIn, DecisionOut

MOST = 100


class BatchItem(DecisionIn):
    gate: uuid.UUID


class BatchResult(Schema):
    """``problem`` is the document that the call for this gate alone would have answered with."""

    gate: uuid.UUID
    status: int
    decision: DecisionOut | None = None
    problem: dict[str, Any] | None = None


Items = Annotated[list[BatchItem], Field(min_length=1, max_length=MOST)]


def add_to(api: NinjaAPI) -> None:
    """Add the operation to the API."""

    def one(request: HttpRequest, item: BatchItem) -> dict[str, Any]:
        try:
            given = DecisionIn(**item.model_dump(exclude={"gate"}))
            return {"gate": item.gate, "status": 201, "decision": create_decision(request, item.gate, given).value}
        except Exception as error:
            answer = api.on_exception(request, error)  # raises what it does not know
            return {"gate": item.gate, "status": answer.status_code, "problem": json.loads(answer.content)}

    @api.post("/gates/decisions", response=list[BatchResult], operation_id="create_decisions", tags=["gates"])
    def create_decisions(request: HttpRequest, body: Body[Items]) -> list[dict[str, Any]]:
        """Decide up to 100 gates. Each answer stands alone: one that is refused has its own status, and stops no other."""
        return [one(request, item) for item in body]
