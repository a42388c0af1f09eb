"""Gates and decisions over HTTP."""

import asyncio
import time
import uuid
from typing import Annotated, Any

from channels.db import database_sync_to_async
from django.http import HttpRequest
from django.shortcuts import aget_object_or_404, get_object_or_404
from ninja import Query, Router, Schema, Status
from pydantic import Field

from approvals.models import Gate, GateStatus
from approvals.reading import decision_as_json, gate_as_json
from approvals.schemas import DecisionIn, DecisionOut, GateList, GateOut
from approvals.services.deciding import decide
from runs import pages
from runs.api import WAIT_LIMIT, WAIT_STEP, Limit

router = Router(tags=["gates"])


class GateQuery(Schema):
    status: GateStatus | None = None
    mine: bool = False
    workflow: str | None = None
    run: uuid.UUID | None = None
    cursor: str | None = None
    limit: Limit = 50


@router.get("/gates", response=GateList, operation_id="list_gates", summary="Gates, newest first")
def list_gates(request: HttpRequest, query: Query[GateQuery]) -> dict[str, Any]:
    gates = Gate.objects.visible_to(request.user).select_related("run").prefetch_related("decisions")
    if query.mine:
        gates = gates.decidable_by(request.user)
    if query.status:
        gates = gates.filter(status=query.status)
    if query.workflow:
        gates = gates.filter(run__workflow=query.workflow)
    if query.run:
        gates = gates.filter(run_id=query.run)
    items, following = pages.page(gates, key="opened_at", cursor=query.cursor, limit=query.limit)
    return {"items": [gate_as_json(gate) for gate in items], "next": following}


@router.get("/gates/{uuid:gate_id}", response=GateOut, operation_id="get_gate", summary="One gate; waits with ?wait=30")
async def get_gate(
    request: HttpRequest, gate_id: uuid.UUID, wait: Annotated[float, Field(ge=0, le=WAIT_LIMIT)] = 0
) -> dict[str, Any]:
    visible = await database_sync_to_async(lambda: Gate.objects.visible_to(request.user))()
    await aget_object_or_404(visible, pk=gate_id)
    until = time.monotonic() + wait
    while time.monotonic() < until and await Gate.objects.filter(pk=gate_id).open().aexists():
        await asyncio.sleep(WAIT_STEP)
    return await database_sync_to_async(lambda: gate_as_json(Gate.objects.select_related("run").get(pk=gate_id)))()


@router.post("/gates/{uuid:gate_id}/decisions", response={201: DecisionOut}, operation_id="create_decision")
def create_decision(request: HttpRequest, gate_id: uuid.UUID, body: DecisionIn) -> Status[dict[str, Any]]:
    """Decide. ``version`` and ``proposal_hash`` are those of the gate as you saw it; 409 carries the gate as it is."""
    get_object_or_404(Gate.objects.visible_to(request.user), pk=gate_id)
    decision = decide(gate_id, by=request.user, channel="api", **body.model_dump())
    return Status(201, decision_as_json(decision))
