"""The shapes of the gate API."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import AwareDatetime, ConfigDict, Field

from approvals.models import GateKind, GateStatus, Verdict
from runs.schemas import Strict


class Quorum(Schema):
    needed: int
    got: int


class Votes(Schema):
    """By group, where the quorum is one by group; and the rejections, so many of which end it."""

    groups: dict[str, Quorum]
    rejections: Quorum


class Claim(Schema):
    by: str
    at: datetime
    until: datetime


class DelegationOut(Schema):
    holder: str
    to: str
    at: datetime


class ActionOut(Schema):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    args: dict[str, Any]
    schema_: dict[str, Any] = Field(alias="schema")
    order: list[str] = []
    proposed: dict[str, Any] | None = None


class DecisionOut(Schema):
    """``acting_for``: in whose place, where the right was passed on or its holder is away."""

    id: int
    verdict: Verdict
    by: str
    at: datetime
    channel: str
    comment: str
    args: dict[str, Any] | None
    acting_for: str | None
    bypass: bool
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
    remind_at: datetime | None
    risk: str
    claim: Claim | None
    acts: int
    delegations: list[DelegationOut]
    undo_until: datetime | None
    policy: dict[str, Any]
    approvers: Approvers
    quorum: Quorum
    votes: Votes
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
    password: str | None = Field(None, description="Where the policy wants it once more (high risk)")


class BypassIn(Strict):
    verdict: Verdict
    reason: str
    version: int | None = None
    proposal_hash: str | None = None
    password: str | None = Field(None, description="Where the policy wants it once more (high risk)")


class ClaimIn(Strict):
    take_over: bool = Field(False, description="From somebody who is on it already")


class DelegateIn(Strict):
    to: str = Field(description="A user name")
    reason: str = ""


class SnoozeIn(Strict):
    until: AwareDatetime
    reason: str = ""


class CommentIn(Strict):
    text: str


class AbsenceIn(Strict):
    deputy: str
    starts: AwareDatetime
    ends: AwareDatetime


class AbsenceOut(Schema):
    id: int
    user: str
    deputy: str
    starts: datetime
    ends: datetime
