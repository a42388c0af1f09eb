"""The shapes of the run API, for its documentation and its checks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import ConfigDict

from runs.models import Kind
from runs.moves import BranchStatus, Requested, Status


class Strict(Schema):
    """A request body: an unknown field is an error that names it."""

    model_config = ConfigDict(extra="forbid")


class Usage(Schema):
    input_tokens: int
    output_tokens: int
    cost_usd: float


class Saved(Schema):
    cost_usd: float
    tokens: int
    seconds: float


class RunError(Schema):
    type: str
    message: str
    step: str
    attempt: int
    retryable: bool
    branch: int | None = None


class ForkedFrom(Schema):
    run: UUID
    seq: int | None


class History(Schema):
    """``broken_at``: the first entry that was found not to be as it was written. An imported run can only be forked."""

    broken_at: int | None
    pruned_at: datetime | None
    imported_at: datetime | None


class Parts(Schema):
    """The branches of the fan-out that is under way, by status."""

    of: int
    queued: int
    running: int
    waiting: int
    succeeded: int
    failed: int


class RunOut(Schema):
    id: UUID
    workflow: str
    version: str
    status: Status
    requested: Requested | None
    step: str
    attempt: int
    seq: int
    labels: dict[str, str]
    error: RunError | None
    reason: str | None
    workflow_held: bool
    breakpoints: list[str]
    deadline_at: datetime | None
    usage: Usage
    saved: Saved
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    available_at: datetime | None
    waits_for: str | None
    rolling_back: bool
    branches: Parts | None
    history: History
    forked_from: ForkedFrom | None


class OpenGate(Schema):
    id: UUID
    step: str
    kind: str
    title: str
    due_at: datetime | None


class RunDetail(RunOut):
    input: Any
    output: dict[str, Any] | None
    gates: list[OpenGate]


class RunList(Schema):
    items: list[RunOut]
    next: str | None


class JournalEntry(Schema):
    seq: int
    kind: Kind
    step: str
    attempt: int | None
    at: datetime
    started_at: datetime | None = None
    duration_ms: float | None = None
    by: str | None = None
    detail: Any


class Journal(Schema):
    items: list[JournalEntry]
    next: int | None


class BranchOut(Schema):
    """``fan_out`` is the ``seq`` of its entry in the journal, ``steps`` what the branch has finished."""

    fan_out: int
    index: int
    arg: Any
    status: BranchStatus
    step: str
    attempt: int
    error: RunError | None
    waits_for: str | None
    put_off_until: datetime | None
    steps: list[str]
    changed: dict[str, Any]
    usage: Usage
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: float | None


class BranchList(Schema):
    items: list[BranchOut]
    next: int | None


class RelativeOut(Schema):
    """One run of a family. ``changed``: per field ``{"from", "to"}``, what its fork changed in the state."""

    id: UUID
    workflow: str
    version: str
    status: Status
    step: str
    error: RunError | None
    usage: Usage
    created_at: datetime
    finished_at: datetime | None
    forked_from: ForkedFrom | None
    changed: dict[str, Any]
    effects: dict[str, str]
    reason: str | None
    by: str | None


class Lineage(Schema):
    root: UUID
    items: list[RelativeOut]
    next: UUID | None


class LogLine(Schema):
    seq: int
    step: str
    attempt: int | None
    at: datetime
    level: str
    message: str
    fields: dict[str, Any]


class Logs(Schema):
    items: list[LogLine]
    next: int | None


class Act(Schema):
    seq: int | None
    at: datetime
    actor: str
    act: str
    channel: str
    address: str
    run: UUID | None
    gate: UUID | None
    decision: int | None
    subject: str
    reason: str
    seen: dict[str, Any] | None
    changed: dict[str, Any] | None
    digest: str | None


class Audit(Schema):
    items: list[Act]
    next: int | None
