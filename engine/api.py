"""Starting and controlling runs over HTTP; the workflows there are; health."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from engine.services import controls, signals, starting, workflow_holds
from runs import reading, stats
from runs.access import may
from runs.api import router as runs_router  # one address, one router: GET is read there, POST is here
from runs.models import Run, WorkflowHold
from runs.schemas import RunDetail, Saved, Strict, Usage
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
    """``seq``: what the caller saw; a run that has gone past it is left alone, with 409."""

    reason: str = ""
    seq: Annotated[int | None, Field(ge=-1)] = None


class ControlWithChanges(Control):
    changes: dict[str, Any] | None = None


class BreakpointIn(Strict):
    step: str


class SignalIn(Strict):
    name: str
    payload: Any = None


class NoteIn(Strict):
    text: Annotated[str, Field(min_length=1, max_length=controls.NOTE_LIMIT)]


class Reason(Strict):
    reason: str = ""


class Node(Schema):
    name: str
    kind: str


class GraphOut(Schema):
    nodes: list[Node]
    edges: list[dict[str, str]]


class Held(Schema):
    by: str
    at: datetime
    reason: str


class Totals(Schema):
    """Over all runs of the workflow. ``saved``: what resuming from checkpoints did not have to do again."""

    runs: int
    by_status: dict[str, int]
    usage: Usage
    saved: Saved


class WorkflowOut(Schema):
    name: str
    version: str
    held: Held | None
    totals: Totals
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
    return _controlled(request, run_id, controls.cancel, **body.model_dump())


@router.post("/runs/{uuid:run_id}/hold", response={202: RunDetail}, operation_id="hold_run", tags=["runs"])
def hold_run(request: HttpRequest, run_id: uuid.UUID, body: Control) -> Status[dict[str, Any]]:
    """Keep the run from going on, from the next boundary."""
    return _controlled(request, run_id, controls.hold, **body.model_dump())


@router.post("/runs/{uuid:run_id}/release", response={202: RunDetail}, operation_id="release_run", tags=["runs"])
def release_run(request: HttpRequest, run_id: uuid.UUID, body: ControlWithChanges) -> Status[dict[str, Any]]:
    """Let a held run go on; ``changes`` are set in its state first."""
    return _controlled(request, run_id, controls.release, **body.model_dump())


@router.post("/runs/{uuid:run_id}/retry", response={202: RunDetail}, operation_id="retry_run", tags=["runs"])
def retry_run(request: HttpRequest, run_id: uuid.UUID, body: ControlWithChanges) -> Status[dict[str, Any]]:
    """Go on from the failed step, with the same idempotency key; ``changes`` are set in the state first."""
    return _controlled(request, run_id, controls.retry, **body.model_dump())


@router.post("/runs/{uuid:run_id}/roll-back", response={202: RunDetail}, operation_id="roll_back_run", tags=["runs"])
def roll_back_run(request: HttpRequest, run_id: uuid.UUID, body: Control) -> Status[dict[str, Any]]:
    """Undo the run's effects, the last one first: from the next boundary where a step is in flight. For admins."""
    return _controlled(request, run_id, controls.roll_back, **body.model_dump())


@router.post("/runs/{uuid:run_id}/signals", response={202: RunDetail}, operation_id="send_signal", tags=["runs"])
def send_signal(request: HttpRequest, run_id: uuid.UUID, body: SignalIn) -> Status[dict[str, Any]]:
    """Hand a signal to whoever waits for its name, or keep it for whoever will."""
    return _controlled(request, run_id, signals.send, name=body.name, payload=body.payload)


@router.post("/runs/{uuid:run_id}/breakpoints", response={202: RunDetail}, operation_id="set_breakpoint", tags=["runs"])
def set_breakpoint(request: HttpRequest, run_id: uuid.UUID, body: BreakpointIn) -> Status[dict[str, Any]]:
    """Hold the run before the named step starts, once."""
    return _controlled(request, run_id, controls.set_breakpoint, step=body.step)


@router.delete(
    "/runs/{uuid:run_id}/breakpoints/{step}", response={202: RunDetail}, operation_id="clear_breakpoint", tags=["runs"]
)
def clear_breakpoint(request: HttpRequest, run_id: uuid.UUID, step: str) -> Status[dict[str, Any]]:
    """Take a breakpoint back."""
    return _controlled(request, run_id, controls.clear_breakpoint, step=step)


@router.post("/runs/{uuid:run_id}/notes", response={202: RunDetail}, operation_id="add_note", tags=["runs"])
def add_note(request: HttpRequest, run_id: uuid.UUID, body: NoteIn) -> Status[dict[str, Any]]:
    """Write a line into the run's journal."""
    return _controlled(request, run_id, controls.add_note, text=body.text)


@router.get("/workflows", response=WorkflowList, operation_id="list_workflows", tags=["workflows"])
def list_workflows(request: HttpRequest) -> dict[str, Any]:
    return {"items": described(registry.all_newest(), request.user), "next": None}


@router.get("/workflows/{name}", response=WorkflowOut, operation_id="get_workflow", tags=["workflows"])
def get_workflow(request: HttpRequest, name: str) -> dict[str, Any]:
    """The definition, with its graph and the JSON Schema of its input."""
    return described([registry.newest(name)], request.user)[0]


@router.post("/workflows/{name}/hold", response={202: WorkflowOut}, operation_id="hold_workflow", tags=["workflows"])
def hold_workflow(request: HttpRequest, name: str, body: Reason) -> Status[dict[str, Any]]:
    """No step of any of its runs starts until it is released; a step in flight is finished."""
    workflow_holds.hold(name, by=request.user, reason=body.reason)
    return Status(202, described([registry.newest(name)], request.user)[0])


@router.post("/workflows/{name}/release", response={202: WorkflowOut}, operation_id="release_workflow", tags=["workflows"])
def release_workflow(request: HttpRequest, name: str, body: Reason) -> Status[dict[str, Any]]:
    """Let the workflow's runs go on."""
    workflow_holds.release(name, by=request.user, reason=body.reason)
    return Status(202, described([registry.newest(name)], request.user)[0])


def described(workflows: list[Workflow[Any]], user: Any) -> list[dict[str, Any]]:
    """The definitions; their totals only for who may see runs."""
    names = [workflow.name for workflow in workflows]
    totals = stats.totals_by_workflow(workflow__in=names) if may(user, "see") else {}
    held = {row.workflow: row for row in WorkflowHold.objects.open().filter(workflow__in=names)}
    return [_described(one, held.get(one.name), totals.get(one.name, stats.NOTHING)) for one in workflows]


def _described(workflow: Workflow[Any], held: WorkflowHold | None, totals: dict[str, Any]) -> dict[str, Any]:
    graph = workflow.graph()
    return {
        "name": workflow.name,
        "version": workflow.version,
        "held": held,
        "totals": totals,
        "steps": graph["nodes"],
        "graph": graph,
        "input_schema": workflow.state.model_json_schema(),
    }


def _controlled(request: HttpRequest, run_id: uuid.UUID, service: Any, **given: Any) -> Status[dict[str, Any]]:
    get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    service(run_id, by=request.user, **given)
    return Status(202, reading.run_in_full(Run.objects.get(pk=run_id)))
