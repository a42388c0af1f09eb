"""Gates and decisions over HTTP."""

import uuid
from typing import Any

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status

from approvals import receipts
from approvals.confirming import confirmed
from approvals.models import Decision, Gate, GateStatus
from approvals.reading import decision_as_json, for_json, gate_as_json
from approvals.refusals import InvalidDecision
from approvals.schemas import BypassIn, DecisionIn, DecisionOut, GateList, GateOut
from approvals.services.deciding import bypass, decide
from approvals.services.taking_back import take_back
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
    """``mine``: open gates that you could decide now."""
    gates = for_json(Gate.objects.visible_to(request.user))
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
    await waiting.look(lambda: visible(request, gate_id))
    await waiting.until(lambda: not Gate.objects.open().filter(pk=gate_id).exists(), wait)
    return await waiting.look(lambda: shown(gate_id))


@router.post("/gates/{uuid:gate_id}/decisions", response={201: DecisionOut}, operation_id="create_decision")
def create_decision(request: HttpRequest, gate_id: uuid.UUID, body: DecisionIn) -> Status[dict[str, Any]]:
    """Decide. ``version`` and ``proposal_hash`` are those of the gate as you saw it; 409 carries the gate as it is."""
    visible(request, gate_id)
    given = body.model_dump(exclude={"password"})
    decision = decide(gate_id, by=request.user, channel="api", confirmed=confirmed(request.user, body.password), **given)
    return Status(201, decision_as_json(decision))


@router.delete(
    "/gates/{uuid:gate_id}/decisions/{int:decision_id}", response=GateOut, by_alias=True, operation_id="undo_decision"
)  # fmt: skip
def undo_decision(request: HttpRequest, gate_id: uuid.UUID, decision_id: int) -> dict[str, Any]:
    """Take your decision back: a vote while the gate is open, or the one that closed it while nothing has followed yet."""
    visible(request, gate_id)
    try:
        take_back(gate_id, decision_id, by=request.user)
    except Decision.DoesNotExist:
        raise Http404 from None
    return shown(gate_id)


@router.get(
    "/gates/{uuid:gate_id}/decisions/{int:decision_id}/receipt", operation_id="get_receipt", summary="A signed receipt"
)  # fmt: skip
def get_receipt(request: HttpRequest, gate_id: uuid.UUID, decision_id: int) -> dict[str, Any]:
    """What was seen, who said what, which effect followed; ``verify_with`` names the script that proves it offline."""
    visible(request, gate_id)
    decisions = Decision.objects.select_related("gate__run", "holder")
    return receipts.of(get_object_or_404(decisions, pk=decision_id, gate=gate_id))


@router.get("/receipts/key", operation_id="get_receipt_key", summary="The public key that receipts are signed with")
def get_receipt_key(request: HttpRequest) -> dict[str, str]:
    return {"public_key": receipts.public_key()}


@router.post("/gates/{uuid:gate_id}/bypass", response=GateOut, by_alias=True, operation_id="bypass_gate")
def bypass_gate(request: HttpRequest, gate_id: uuid.UUID, body: BypassIn) -> dict[str, Any]:
    """As an admin, decide alone and past the policy, where it allows that. Everybody sees it, with your reason."""
    visible(request, gate_id)
    given = body.model_dump(exclude={"password"})
    try:
        bypass(gate_id, by=request.user, channel="api", confirmed=confirmed(request.user, body.password), **given)
    except InvalidDecision as error:  # its reason is the decision's comment
        raise InvalidDecision({"reason" if name == "comment" else name: text for name, text in error.errors.items()}) from None
    return shown(gate_id)


def visible(request: HttpRequest, gate_id: uuid.UUID) -> Gate:
    """The gate, if the caller may see it. Raises Http404."""
    return get_object_or_404(Gate.objects.visible_to(request.user), pk=gate_id)


def shown(gate_id: uuid.UUID) -> dict[str, Any]:
    """The gate as it is now."""
    return gate_as_json(for_json(Gate.objects.all()).get(pk=gate_id))
