"""Gates and decisions over HTTP."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status

from approvals.models import Gate, GateStatus
from approvals.reading import decision_as_json, gate_as_json
from approvals.schemas import DecisionIn, DecisionOut, GateList, GateOut
from approvals.services.deciding import decide
from runs import filters, pages, waiting
from runs.api import Limit

router = Router(tags=["gates"])


class GateQuery(Schema):
    status: GateStatus | None = None
    mine: bool = False
    workflow: str | None = None
    run: uuid.UUID | None = None
    cursor: str | None = None
    limit: Limit = 50


@router.get("/gates", response=GateList, by_alias=True, operation_id="list_gates", summary="Gates, newest first")
def list_gates(request: HttpRequest, query: Query[GateQuery]) -> dict[str, Any]:
    gates = Gate.objects.visible_to(request.user).select_related("run").prefetch_related("decisions")
    if query.mine:
        gates = gates.decidable_by(request.user)
    if query.status:
        gates = gates.filter(status=query.status)
    if query.workflow:
        gates = gates.filter(run__workflow=filters.plain_text("workflow", query.workflow))
    if query.run:
        gates = gates.filter(run_id=query.run)
    items, following = pages.page(gates, key="opened_at", cursor=query.cursor, limit=query.limit)
    return {"items": [gate_as_json(gate) for gate in items], "next": following}


@router.get(
    "/gates/{uuid:gate_id}",
    response=GateOut,
    by_alias=True,
    operation_id="get_gate",
    summary="One gate; waits with ?wait=30",
)
async def get_gate(request: HttpRequest, gate_id: uuid.UUID, wait: waiting.Seconds = 0) -> dict[str, Any]:
    await waiting.look(lambda: get_object_or_404(Gate.objects.visible_to(request.user), pk=gate_id))
    await waiting.until(lambda: not Gate.objects.open().filter(pk=gate_id).exists(), wait)
    return await waiting.look(lambda: gate_as_json(Gate.objects.select_related("run").get(pk=gate_id)))


@router.post("/gates/{uuid:gate_id}/decisions", response={201: DecisionOut}, operation_id="create_decision")
def create_decision(request: HttpRequest, gate_id: uuid.UUID, body: DecisionIn) -> Status[dict[str, Any]]:
    """Decide. ``version`` and ``proposal_hash`` are those of the gate as you saw it; 409 carries the gate as it is."""
    get_object_or_404(Gate.objects.visible_to(request.user), pk=gate_id)
    decision = decide(gate_id, by=request.user, channel="api", **body.model_dump())
    return Status(201, decision_as_json(decision))
