"""Reading a document into this database: a copy that people look at and fork, and that nobody carries on."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import DataError, IntegrityError, transaction

from approvals.models import Decision, Gate, GateStatus
from checkpoints import verifying
from checkpoints.models import Checkpoint, Content
from engine.portable import document, exporting
from runs.clock import Now, database_now
from runs.models import Branch, Event, FanOut, Kind, Run
from runs.moves import BRANCH_FINAL, FINAL, BranchStatus, Status

UNFINISHED = "imported while it was {status}: a copy, which nobody carries on here; fork it to go on"


class RunKnown(ValueError):
    """A run of that id is here already."""


@transaction.atomic
def imported(text: str | bytes) -> Run:
    """Read a document. Raises DocumentInvalid that names every place which was altered, RunKnown; then nothing is written."""
    found = document.parsed(text)
    try:
        return _written(found)
    except (KeyError, TypeError, ValueError, AttributeError, DataError, IntegrityError) as error:
        if isinstance(error, RunKnown):
            raise
        raise document.DocumentInvalid(
            [document.Flaw("document", f"it cannot be read: {type(error).__name__}: {error}")]
        ) from error


def _written(found: dict[str, Any]) -> Run:
    run_id = uuid.UUID(found["run"]["id"])
    if Run.objects.filter(pk=run_id).exists():
        raise RunKnown(f"run {run_id} is here already")
    run = _run(run_id, found["run"])
    Checkpoint.objects.bulk_create([_checkpoint(run, one) for one in found["entries"] if one["kind"] == Kind.CHECKPOINT], 500)
    Event.objects.bulk_create([_event(run, one) for one in found["entries"] if one["kind"] != Kind.CHECKPOINT], 500)
    Content.objects.bulk_create(
        [Content(run=run, hash=bytes.fromhex(one["hash"]), data=document.data(one["data"])) for one in found["contents"]], 50
    )
    branches = {key: pk for one in found["fan_outs"] for key, pk in _fan_out(run, one).items()}
    for one in found["gates"]:
        _gate(run, one, branches)
    report = verifying.verify(run)  # also what the document's own hashes cannot tell: pieces that are missing
    if report.breaks:
        raise document.DocumentInvalid([document.Flaw(f"seq {one.seq}", one.why) for one in report.breaks])
    return run


def _run(run_id: uuid.UUID, given: dict[str, Any]) -> Run:
    status, reason = Status(given["status"]), given["reason"]
    if status not in FINAL:
        reason, status = UNFINISHED.format(status=status), Status.HELD
    fields = (
        "workflow",
        "version",
        "step",
        "visit",
        "attempt",
        "seq",
        "labels",
        "error",
        "input",
        "input_tokens",
        "output_tokens",
    )
    return Run.objects.create(
        id=run_id, status=status, reason=reason, digest=bytes.fromhex(given["digest"]), cost_usd=Decimal(given["cost_usd"]),
        imported_at=database_now(), rolls_back_from=given["rolls_back_from"] if status in FINAL else None,
        **{name: given[name] for name in fields}, **_times(given, "created_at", "started_at", "finished_at", "pruned_at"),
    )  # fmt: skip


def _times(given: dict[str, Any], *names: str) -> dict[str, datetime | None]:
    return {name: None if given[name] is None else datetime.fromisoformat(given[name]) for name in names}


def _entry(run: Run, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run,
        "seq": given["seq"],
        "content_hash": bytes.fromhex(given["content_hash"]),
        "digest": bytes.fromhex(given["digest"]),
        **_times(given, "started_at", "at"),
    }


def _checkpoint(run: Run, given: dict[str, Any]) -> Checkpoint:
    names = ("step", "visit", "attempt", "schema_version", "next_step", "reused_from", "usage", "logs")
    packed = {name: document.data(given[name]) for name in ("delta", "keyframe")}
    return Checkpoint(**_entry(run, given), **packed, **{name: given[name] for name in names})


def _event(run: Run, given: dict[str, Any]) -> Event:
    names = ("kind", "step", "attempt", "by", "detail")
    return Event(**_entry(run, given), **{name: given[name] for name in names})


def _fan_out(run: Run, given: dict[str, Any]) -> dict[tuple[int, int], int]:
    """The branches' ids by the fan-out's seq and their index. An unfinished one failed, for all that can be done here."""
    row = FanOut.objects.create(
        run=run, **{name: given[name] for name in exporting.FAN_OUT}, **_times(given, "at"), all_told=True
    )
    branches = [_branch(run, row, one) for one in given["branches"]]
    Branch.objects.bulk_create(branches, 500)
    return {(row.seq, one.index): one.pk for one in branches}


def _branch(run: Run, fan_out: FanOut, given: dict[str, Any]) -> Branch:
    fields = {name: given[name] for name in exporting.BRANCH}
    times = _times(given, "started_at", "finished_at")
    if fields["status"] not in BRANCH_FINAL:
        fields["status"], times["finished_at"] = BranchStatus.FAILED, database_now()
    return Branch(run=run, fan_out=fan_out, cost_usd=Decimal(given["cost_usd"]), told_at=fan_out.seq, **fields, **times)


def _gate(run: Run, given: dict[str, Any], branches: dict[tuple[int, int], int]) -> None:
    """The gate as it was; one that was open is withdrawn, for nobody can answer it here."""
    fields = {name: given[name] for name in exporting.GATE if name in given}
    times: dict[str, Any] = _times(given, "due_at", "opened_at", "final_at")
    if fields["status"] == GateStatus.OPEN:
        fields["status"], times["final_at"] = GateStatus.WITHDRAWN, Now()
    at = given["branch"]
    branch = None if at is None else branches[at["fan_out"], at["index"]]
    gate = Gate.objects.create(run=run, branch_id=branch, **fields, **times)
    Decision.objects.bulk_create(
        Decision(gate=gate, **{name: one[name] for name in exporting.DECISION if name in one}, **_times(one, "at", "voided_at"))
        for one in given["decisions"]
    )
