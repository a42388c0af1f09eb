"""Reading runs over HTTP."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema
from pydantic import Field

from runs import branches, filters, lineage, pages, reading, stats, terms, waiting
from runs.models import Kind, Run
from runs.moves import BranchStatus, Status
from runs.schemas import BranchList, Journal, Lineage, Logs, RunDetail, RunList

router = Router(tags=["runs"])
Seq = Annotated[int, Field(ge=-1, lt=2**62)]
Limit = Annotated[int, Field(ge=1, le=pages.LIMIT)]


class RunQuery(Schema):
    status: Status | None = None
    workflow: str | None = None
    label: Annotated[str | None, Field(description="`key:value`", examples=["customer:acme"])] = None
    q: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    query: Annotated[
        str | None, Field(description="As typed on the page of runs", examples=["status:failed label.customer:acme cost:>1"])
    ] = None
    cursor: str | None = None
    limit: Limit = 50


@router.get("/runs", response=RunList, operation_id="list_runs", summary="Runs, newest first")
def list_runs(request: HttpRequest, query: Query[RunQuery]) -> dict[str, Any]:
    runs = filters.narrow(Run.objects.visible_to(request.user).for_list(), query)
    runs = terms.narrow(runs, query.query or "")
    items, following = pages.page(runs, key="created_at", cursor=query.cursor, limit=query.limit)
    return {"items": [reading.run_as_json(run) for run in branches.count(items)], "next": following}


@router.get("/runs/{uuid:run_id}", response=RunDetail, operation_id="get_run", summary="One run; waits with ?wait=30")
async def get_run(request: HttpRequest, run_id: uuid.UUID, wait: waiting.Seconds = 0) -> dict[str, Any]:
    await waiting.look(lambda: get_object_or_404(Run.objects.visible_to(request.user), pk=run_id))
    await waiting.until(lambda: reading.settled(run_id), wait)
    return await waiting.look(lambda: reading.run_in_full(Run.objects.get(pk=run_id)))


@router.get("/runs/{uuid:run_id}/journal", response=Journal, operation_id="list_journal", exclude_unset=True)
def list_journal(
    request: HttpRequest,
    run_id: uuid.UUID,
    after: Seq = -1,
    before: Seq | None = None,
    order: Literal["asc", "desc"] = "asc",
    kind: Kind | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """The run's checkpoints and events in one order. ``next`` is the ``after`` (or ``before``) of the next page."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    kinds = {kind} if kind else set()
    span = {"after": after, "before": before, "newest_first": order == "desc", "kinds": kinds}
    items = reading.journal(run, **span, limit=limit + 1)  # type: ignore[arg-type]
    following = items[limit - 1]["seq"] if len(items) > limit else None
    return {"items": items[:limit], "next": following}


@router.get("/runs/{uuid:run_id}/logs", response=Logs, operation_id="list_logs")
def list_logs(request: HttpRequest, run_id: uuid.UUID, after: Seq = -1, limit: Limit = 50) -> dict[str, Any]:
    """What the run's steps logged, by the ``seq`` of the entry that it was committed with."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    items, following = reading.logs(run, after=after, limit=limit)
    return {"items": items, "next": following}


@router.get("/runs/{uuid:run_id}/branches", response=BranchList, operation_id="list_branches")
def list_branches(
    request: HttpRequest,
    run_id: uuid.UUID,
    fan_out: Seq | None = None,
    status: BranchStatus | None = None,
    after: Seq = -1,
    limit: Limit = 50,
) -> dict[str, Any]:
    """The branches of the run's last fan-out, or of the one that its journal has at ``fan_out``, by index."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    found = branches.fan_out_of(run, fan_out)
    if found is None:
        return {"items": [], "next": None}
    rows, following = branches.page(found, status=status or "", after=after, limit=limit)
    return {"items": [branches.as_json(row, run, found) for row in rows], "next": following}


@router.get("/runs/{uuid:run_id}/lineage", response=Lineage, operation_id="get_lineage")
def get_lineage(request: HttpRequest, run_id: uuid.UUID, cursor: uuid.UUID | None = None, limit: Limit = 50) -> dict[str, Any]:
    """The run that the first fork of this family came from, and all that were forked from it, oldest first."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    root, items, following = lineage.page(run, after=cursor, limit=limit)
    return {"root": root, "items": [lineage.as_json(one) for one in items], "next": following}


@router.get("/stats", operation_id="get_stats", summary="Counts by status, waiting by age, in flight, stuck")
def get_stats(request: HttpRequest) -> dict[str, Any]:
    return stats.counts(Run.objects.visible_to(request.user))
