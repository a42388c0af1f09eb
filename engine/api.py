"""Starting and controlling runs over HTTP; the workflows there are; health."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import ConfigDict

from engine.services import controls, starting
from runs import reading
from runs.api import router as runs_router  # one address, one router: GET is read there, POST is here
from runs.models import Run
from runs.schemas import RunDetail, Strict
from workflows import Workflow, registry

router = Router()


class RunIn(Strict):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "workflow": "refund",
                    "input": {"order": "A-1042", "amount": 400},
                    "labels": {"customer": "acme"},
                    "idempotency_key": "refund-A-1042",
                }
            ]
        },
    )

    workflow: str
    input: Any
    labels: dict[str, str] = {}
    idempotency_key: str | None = None


class Control(Strict):
    reason: str = ""


class RetryIn(Control):
    changes: dict[str, Any] | None = None


class Node(Schema):
    name: str
    kind: str


class GraphOut(Schema):
    nodes: list[Node]
    edges: list[dict[str, str]]


class WorkflowOut(Schema):
    name: str
    version: str
    steps: list[Node]
    graph: GraphOut
    input_schema: dict[str, Any]


class WorkflowList(Schema):
    items: list[WorkflowOut]
    next: str | None


@runs_router.post("/runs", response={201: RunDetail, 200: RunDetail}, operation_id="create_run")
def create_run(request: HttpRequest, body: RunIn) -> Status[dict[str, Any]]:
    """Start a run. The same ``idempotency_key`` and input give the same run again, with 200."""
    run, is_new = starting.start(by=request.user, **body.model_dump())
    return Status(201 if is_new else 200, reading.run_in_full(run))


@router.post("/runs/{uuid:run_id}/cancel", response={202: RunDetail}, operation_id="cancel_run", tags=["runs"])
def cancel_run(request: HttpRequest, run_id: uuid.UUID, body: Control) -> Status[dict[str, Any]]:
    """End the run: at the next boundary where a step is in flight, at once where none is."""
    return _controlled(request, run_id, controls.cancel, reason=body.reason)


@router.post("/runs/{uuid:run_id}/hold", response={202: RunDetail}, operation_id="hold_run", tags=["runs"])
def hold_run(request: HttpRequest, run_id: uuid.UUID, body: Control) -> Status[dict[str, Any]]:
    """Keep the run from going on, from the next boundary."""
    return _controlled(request, run_id, controls.hold, reason=body.reason)


@router.post("/runs/{uuid:run_id}/release", response={202: RunDetail}, operation_id="release_run", tags=["runs"])
def release_run(request: HttpRequest, run_id: uuid.UUID, body: Control) -> Status[dict[str, Any]]:
    """Let a held run go on."""
    return _controlled(request, run_id, controls.release, reason=body.reason)


@router.post("/runs/{uuid:run_id}/retry", response={202: RunDetail}, operation_id="retry_run", tags=["runs"])
def retry_run(request: HttpRequest, run_id: uuid.UUID, body: RetryIn) -> Status[dict[str, Any]]:
    """Go on from the failed step, with the same idempotency key; ``changes`` are set in the state first."""
    return _controlled(request, run_id, controls.retry, reason=body.reason, changes=body.changes)


@router.get("/workflows", response=WorkflowList, operation_id="list_workflows", tags=["workflows"])
def list_workflows(request: HttpRequest) -> dict[str, Any]:
    return {"items": [workflow_as_json(workflow) for workflow in registry.all_newest()], "next": None}


@router.get("/workflows/{name}", response=WorkflowOut, operation_id="get_workflow", tags=["workflows"])
def get_workflow(request: HttpRequest, name: str) -> dict[str, Any]:
    """The definition, with its graph and the JSON Schema of its input."""
    return workflow_as_json(registry.newest(name))


def workflow_as_json(workflow: Workflow) -> dict[str, Any]:
    graph = workflow.graph()
    return {
        "name": workflow.name,
        "version": workflow.version,
        "steps": graph["nodes"],
        "graph": graph,
        "input_schema": workflow.state.model_json_schema(),
    }


def _controlled(request: HttpRequest, run_id: uuid.UUID, service: Any, **given: Any) -> Status[dict[str, Any]]:
    get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    service(run_id, by=request.user, **given)
    return Status(202, reading.run_in_full(Run.objects.get(pk=run_id)))
