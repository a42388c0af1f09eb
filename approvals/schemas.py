"""The shapes of the gate API."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import ConfigDict, Field

from approvals.models import GateKind, GateStatus, Verdict
from runs.schemas import Strict


class Quorum(Schema):
    needed: int
    got: int


class ActionOut(Schema):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    args: dict[str, Any]
    schema_: dict[str, Any] = Field(alias="schema")
    order: list[str] = []
    proposed: dict[str, Any] | None = None


class DecisionOut(Schema):
    id: int
    verdict: Verdict
    by: str
    at: datetime
    channel: str
    comment: str
    args: dict[str, Any] | None
    voided: bool


class Outcome(Schema):
    verdict: Verdict
    by: str
    at: datetime


class Approvers(Schema):
    users: list[str]
    groups: list[str]


class GateOut(Schema):
    id: UUID
    run: UUID
    workflow: str
    branch: int | None
    step: str
    key: str
    kind: GateKind
    status: GateStatus
    title: str
    summary: str
    action: ActionOut | None
    verdicts: list[Verdict]
    context: dict[str, Any]
    opened_at: datetime
    due_at: datetime | None
    level: int
    policy: dict[str, Any]
    approvers: Approvers
    quorum: Quorum
    version: int
    proposal_hash: str
    decisions: list[DecisionOut]
    outcome: Outcome | None
    final_at: datetime | None
    carried_from: UUID | None


class GateList(Schema):
    items: list[GateOut]
    next: str | None


class DecisionIn(Strict):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"verdict": "approve", "version": 1, "proposal_hash": "9f86d081884c7d65…"},
                {"verdict": "edit", "args": {"amount": 300}, "version": 1, "proposal_hash": "9f86d081884c7d65…"},
            ]
        },
    )

    verdict: Verdict
    args: dict[str, Any] | None = None
    comment: str = ""
    version: int
    proposal_hash: str
