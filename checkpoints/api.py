"""Reading a run's checkpoints over HTTP."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Router, Schema
from pydantic import ConfigDict, Field

from checkpoints import inspect, key_history, revealing, verifying
from runs.api import Limit, Seq
from runs.models import Run
from runs.schemas import Strict, Usage

router = Router(tags=["checkpoints"])


class CheckpointUsage(Usage):
    models: list[str] = []


class CheckpointOut(Schema):
    seq: int
    step: str
    attempt: int
    state: dict[str, Any]
    delta: dict[str, Any]
    saw: list[str] | None
    spared_bytes: int | None
    returned: dict[str, Any]
    usage: CheckpointUsage | None
    idempotency_key: str | None
    reused_from: int | None
    next_step: str
    digest: str
    schema_version: int
    created_at: datetime


class Operation(Schema):
    """One operation of RFC 6902; ``value`` is absent from a ``remove``."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class DiffOut(Schema):
    a: int
    b: int
    patch: list[Operation]


class KeyChange(Schema):
    """A value of more than 1,000 bytes is null here; its ``bytes`` say how long it is, where that is known."""

    model_config = ConfigDict(populate_by_name=True)

    seq: int
    step: str
    attempt: int
    at: datetime
    old: Annotated[Any, Field(alias="from")] = None
    new: Annotated[Any, Field(alias="to")] = None
    from_bytes: int | None
    to_bytes: int | None


class KeyHistory(Schema):
    key: str
    items: list[KeyChange]
    next: int | None


class BreakOut(Schema):
    seq: int
    why: str


class Verification(Schema):
    run: uuid.UUID
    sound: bool
    entries: int
    checkpoints: int
    pruned: int
    breaks: list[BreakOut]


class RevealIn(Strict):
    field: str
    reason: str = ""


class Revealed(Schema):
    field: str
    value: Any


@router.get("/runs/{uuid:run_id}/checkpoints/{int:seq}", response=CheckpointOut, operation_id="get_checkpoint")
def get_checkpoint(request: HttpRequest, run_id: uuid.UUID, seq: int) -> dict[str, Any]:
    """The checkpoint at or before ``seq``, with the whole state as it then was; secrets are masked."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    return inspect.checkpoint_as_json(run, seq)


@router.post("/runs/{uuid:run_id}/checkpoints/{int:seq}/reveal", response=Revealed, operation_id="reveal_secret")
def reveal_secret(request: HttpRequest, response: HttpResponse, run_id: uuid.UUID, seq: int, body: RevealIn) -> dict[str, Any]:
    """A secret field as it then was. For admins; the journal says who looked at which, and why."""
    get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    value = revealing.reveal(run_id, seq, body.field, by=request.user, reason=body.reason)
    response["Cache-Control"] = "no-store"  # nor is it kept for the Idempotency-Key (holdfast/idempotency.py)
    return {"field": body.field, "value": value}


@router.get("/runs/{uuid:run_id}/diff", response=DiffOut, operation_id="get_diff", exclude_unset=True)
def get_diff(
    request: HttpRequest, run_id: uuid.UUID, a: Seq, b: Seq, other_run: uuid.UUID | None = None
) -> dict[str, Any]:  # fmt: skip
    """How the state at ``a`` becomes the one at ``b``, which may be another run's, as a JSON Patch (RFC 6902)."""
    visible = Run.objects.visible_to(request.user)
    run = get_object_or_404(visible, pk=run_id)
    other = run if other_run is None else get_object_or_404(visible, pk=other_run)
    first, second, found = inspect.compare(run, a, other, b)
    return {"a": first, "b": second, "patch": [one.as_operation() for one in found]}


@router.get("/runs/{uuid:run_id}/history", response=KeyHistory, by_alias=True, operation_id="get_key_history")
def get_key_history(request: HttpRequest, run_id: uuid.UUID, key: str, after: Seq = -1, limit: Limit = 50) -> dict[str, Any]:
    """Every checkpoint at which ``key`` (``risk``, ``plan.total``, ``/plan/total``) changed: from what, to what, by whom."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    items, following = key_history.changes(run, key, after=after, limit=limit)
    return {"key": key, "items": items, "next": following}


@router.get("/runs/{uuid:run_id}/verification", response=Verification, operation_id="verify_run")
def verify_run(request: HttpRequest, run_id: uuid.UUID) -> dict[str, Any]:
    """Walk the run's whole history: is every entry as it was written?"""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    report = verifying.verify_and_note(run)
    return {
        "run": run.pk,
        "sound": report.is_sound,
        "entries": report.entries,
        "checkpoints": report.checkpoints,
        "pruned": report.pruned,
        "breaks": report.breaks,
    }
