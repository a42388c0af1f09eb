"""Forking and exporting a run over HTTP."""

import uuid
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from engine import fork_plan
from engine.portable import exporting
from engine.services import forking
from runs import reading
from runs.models import Run
from runs.schemas import RunDetail, Strict
from runs.streaming import streamed

router = Router(tags=["runs"])
Mode = Literal["reuse", "execute"]


class ForkIn(Strict):
    """``effects``: whether what the run did outside after ``seq`` is done again, or its recorded results are taken; by step, or
    for all. ``source``: what becomes of the run that is forked."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"seq": 1, "changes": {"amount": 380}, "effects": {"pay": "execute"}, "reason": "a typing error"}]
        },
    )

    seq: Annotated[int, Field(ge=0, lt=2**62)]
    changes: dict[str, Any] | None = None
    effects: Mode | dict[str, Mode] = "reuse"
    source: Literal["leave", "hold", "cancel"] = "leave"
    reason: str = ""
    version: str | None = None


class AheadOut(Schema):
    step: str
    kind: str
    recorded: int
    mode: Mode | None
    differs: list[str]
    why_not: str | None


class ForkPlan(Schema):
    """``kept``: finished steps that are not run again. ``recorded``: how often the run has done the step since ``seq``."""

    seq: int
    version: str
    step: str
    kept: list[str]
    ahead: list[AheadOut]


@router.post("/runs/{uuid:run_id}/forks", response={201: RunDetail}, operation_id="create_fork")
def create_fork(request: HttpRequest, run_id: uuid.UUID, body: ForkIn) -> Status[dict[str, Any]]:
    """A new run that goes on from the checkpoint at or before ``seq``. This run is not changed. For admins."""
    get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    key = request.headers.get("Idempotency-Key")
    run = forking.fork(run_id, by=request.user, key=key, **body.model_dump())
    return Status(201, reading.run_in_full(run))


@router.get("/runs/{uuid:run_id}/fork-plan", response=ForkPlan, operation_id="get_fork_plan")
def get_fork_plan(request: HttpRequest, run_id: uuid.UUID, seq: Annotated[int, Field(ge=0, lt=2**62)]) -> dict[str, Any]:
    """What a fork from ``seq`` would keep, and what would run again."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    plan = fork_plan.make(run, seq)
    return {
        "seq": plan.at.seq,
        "version": plan.workflow.version,
        "step": plan.step,
        "kept": plan.kept,
        "ahead": [
            {
                "step": one.step.name,
                "kind": one.step.kind,
                "recorded": one.recorded,
                "mode": one.mode or None,
                "differs": list(one.differs),
                "why_not": one.why_not or None,
            }
            for one in plan.ahead
        ],
    }


@router.get("/runs/{uuid:run_id}/export", operation_id="export_run", response=dict[str, Any])
def export_run(request: HttpRequest, run_id: uuid.UUID) -> Any:
    """The run's whole history as one JSON document, which ``manage.py verify_export`` proves and ``import_run`` reads."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    return streamed(request, exporting.written(run), content_type="application/json", name=f"{run.workflow}-{run.pk}.json")
