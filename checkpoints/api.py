"""Reading a run's checkpoints over HTTP."""

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema

from checkpoints import inspect
from runs.models import Run
from runs.schemas import Usage

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
    digest: str
    schema_version: int
    created_at: datetime


@router.get("/runs/{uuid:run_id}/checkpoints/{int:seq}", response=CheckpointOut, operation_id="get_checkpoint")
def get_checkpoint(request: HttpRequest, run_id: uuid.UUID, seq: int) -> dict[str, Any]:
    """The checkpoint at or before ``seq``, with the whole state as it then was; secrets are masked."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    return inspect.checkpoint_as_json(run, seq)
