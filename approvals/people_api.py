"""What people do at a gate beside deciding it, over HTTP; and who is away."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status

from approvals.api import shown, visible
from approvals.models import Absence
from approvals.schemas import AbsenceIn, AbsenceOut, ClaimIn, CommentIn, DelegateIn, GateOut, SnoozeIn
from approvals.services import absences, people

router = Router(tags=["gates"])


@router.post("/gates/{uuid:gate_id}/claim", response=GateOut, by_alias=True, operation_id="claim_gate")
def claim_gate(request: HttpRequest, gate_id: uuid.UUID, body: ClaimIn | None = None) -> dict[str, Any]:
    """Say that you are on it, for 15 minutes. Others see that; it keeps nobody from deciding."""
    visible(request, gate_id)
    people.claim(gate_id, by=request.user, take_over=body is not None and body.take_over)
    return shown(gate_id)


@router.delete("/gates/{uuid:gate_id}/claim", response=GateOut, by_alias=True, operation_id="unclaim_gate")
def unclaim_gate(request: HttpRequest, gate_id: uuid.UUID) -> dict[str, Any]:
    visible(request, gate_id)
    people.unclaim(gate_id, by=request.user)
    return shown(gate_id)


@router.post("/gates/{uuid:gate_id}/delegate", response=GateOut, by_alias=True, operation_id="delegate_gate")
def delegate_gate(request: HttpRequest, gate_id: uuid.UUID, body: DelegateIn) -> dict[str, Any]:
    """Pass your right to decide this gate on to another person, who decides in your place."""
    visible(request, gate_id)
    people.delegate(gate_id, by=request.user, to=body.to, reason=body.reason)
    return shown(gate_id)


@router.delete("/gates/{uuid:gate_id}/delegate", response=GateOut, by_alias=True, operation_id="undelegate_gate")
def undelegate_gate(request: HttpRequest, gate_id: uuid.UUID) -> dict[str, Any]:
    visible(request, gate_id)
    people.take_back_delegation(gate_id, by=request.user)
    return shown(gate_id)


@router.post("/gates/{uuid:gate_id}/snooze", response=GateOut, by_alias=True, operation_id="snooze_gate")
def snooze_gate(request: HttpRequest, gate_id: uuid.UUID, body: SnoozeIn) -> dict[str, Any]:
    """Put the gate out of your sight until then. Its clock goes on."""
    visible(request, gate_id)
    people.snooze(gate_id, by=request.user, until=body.until, reason=body.reason)
    return shown(gate_id)


@router.delete("/gates/{uuid:gate_id}/snooze", response=GateOut, by_alias=True, operation_id="wake_gate")
def wake_gate(request: HttpRequest, gate_id: uuid.UUID) -> dict[str, Any]:
    visible(request, gate_id)
    people.wake(gate_id, by=request.user)
    return shown(gate_id)


@router.post("/gates/{uuid:gate_id}/comments", response=GateOut, by_alias=True, operation_id="comment_gate")
def comment_gate(request: HttpRequest, gate_id: uuid.UUID, body: CommentIn) -> dict[str, Any]:
    """Say something to the others at the gate. It is an entry of the run's journal; ``@name`` mentions a person."""
    visible(request, gate_id)
    people.comment(gate_id, by=request.user, text=body.text)
    return shown(gate_id)


@router.get("/absences", response=list[AbsenceOut], operation_id="list_absences", tags=["people"])
def list_absences(request: HttpRequest) -> list[dict[str, Any]]:
    """Yours; to admins, everybody's that are not over."""
    return [_absence(one) for one in Absence.objects.shown_to(request.user)]


@router.post("/absences", response={201: AbsenceOut}, operation_id="create_absence", tags=["people"])
def create_absence(request: HttpRequest, body: AbsenceIn) -> Status[dict[str, Any]]:
    """Be out of office: meanwhile your deputy may decide what you may."""
    return Status(201, _absence(absences.announce(by=request.user, **body.model_dump())))


@router.delete("/absences/{int:absence_id}", response={204: None}, operation_id="end_absence", tags=["people"])
def end_absence(request: HttpRequest, absence_id: int) -> Status[None]:
    absences.end(get_object_or_404(Absence.objects.shown_to(request.user), pk=absence_id), by=request.user)
    return Status(204, None)


def _absence(one: Absence) -> dict[str, Any]:
    return {"id": one.pk, "user": one.user.get_username(), "deputy": one.deputy.get_username(), "starts": one.starts,
            "ends": one.ends}  # fmt: skip
