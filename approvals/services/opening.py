"""Opening gates, in the transaction of the boundary that suspends the run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q

from approvals.models import Decision, Gate, GateKind
from approvals.services import policies, timing
from runs.access import ADMIN
from runs.clock import database_now, iso
from runs.models import Branch, Kind, Run
from runs.services import journal, moves
from workflows import codec
from workflows.policy import RISKS


@dataclass(frozen=True)
class Question:
    """All that a gate is opened with. ``policy`` is ``Policy.as_json()``, ``action`` ``{name, args, schema}`` or None."""

    key: str
    title: str
    policy: Mapping[str, Any]
    verdicts: Sequence[str]
    summary: str = ""
    action: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    kind: GateKind = GateKind.APPROVAL
    on_reject: str = "end"
    on_respond: str = ""
    goto: str = ""
    merges: bool = True


def open_gates(row: Run | Branch, questions: Sequence[Question], *, by: str = "") -> list[Gate]:
    """Open a gate for each question at the current step and visit of the run, or of its branch, which is about to wait."""
    now = database_now()  # one time for all: it tells which gates were opened together
    return [_open(row, ordinal, question, len(questions), by, now) for ordinal, question in enumerate(questions)]


def proposal_hash(step: str, proposal: Mapping[str, Any]) -> str:
    """SHA-256 over title, summary, action, context values, verdicts and step: what the decision is bound to."""
    parts = [step, *(proposal[name] for name in ("title", "summary", "action", "context", "verdicts"))]
    return hashlib.sha256(codec.dumps(_ordered(parts))).hexdigest()


def rehash(gate: Gate) -> str:
    """The hash of the gate's proposal as it stands."""
    return proposal_hash(gate.step, proposal_of(gate))


def proposal_of(asked: Question | Gate) -> dict[str, Any]:
    """What is proposed, as plain JSON: ``{title, summary, action, context, verdicts}``."""
    return {
        "title": asked.title,
        "summary": asked.summary,
        "action": asked.action,
        "context": dict(asked.context or {}),
        "verdicts": list(asked.verdicts),
    }


def _open(row: Run | Branch, ordinal: int, question: Question, together: int, by: str, now: datetime) -> Gate:
    run, branch = (row.run, row) if isinstance(row, Branch) else (row, None)
    policy = dict(question.policy)
    if question.kind == GateKind.APPROVAL:
        policy = policies.effective(run.workflow, question.key, policy)
    users, groups = split(policy["approvers"])
    if not _are_enough(users, groups, run, question.key, policy):
        groups.append(ADMIN)
    proposal = proposal_of(question)
    gate = Gate(
        run=run,
        branch=branch,
        step=row.step,
        visit=row.visit,
        ordinal=ordinal,
        together=together,
        key=question.key,
        kind=question.kind,
        **proposal,
        proposal_hash=proposal_hash(row.step, proposal),
        policy=policy,
        approver_users=users,
        approver_groups=groups,
        **ruled(policy),
        **timing.clock(policy, now, policy["timeout"]),
        on_timeout=policy["on_timeout"],
        on_reject=question.on_reject,
        on_respond=question.on_respond,
        goto=question.goto,
        merges=question.merges,
        opened_at=now,
    )
    detail = {
        "gate": str(gate.id),
        "kind": gate.kind,
        "title": gate.title,
        "asks": [*users, *groups],
        "due_at": iso(gate.due_at),
        **({"quorum": gate.quorum} if gate.quorum > 1 else {}),
        **({"of_each": True} if isinstance(policy["quorum"], dict) else {}),
    }
    gate.seq = moves.record(row, journal.Entry(Kind.GATE_OPENED, row.step, row.attempt, by, detail))
    gate.save(force_insert=True)
    return gate


def ruled(policy: Mapping[str, Any]) -> dict[str, Any]:
    """What a gate repeats of its policy, to be asked for by the database."""
    return {
        "allow_self": policy["allow_self"],
        "quorum": policy["quorum"] if isinstance(policy["quorum"], int) else sum(policy["quorum"].values()),
        "veto": policy["veto"],
        "distinct_from": policy["distinct_from"],
        "risk": RISKS.index(policy["risk"]),
    }


def split(approvers: Sequence[str]) -> tuple[list[str], list[str]]:
    """User names, and names of groups; roles are groups."""
    users = [name.removeprefix("user:") for name in approvers if name.startswith("user:")]
    return users, [name.partition(":")[2] for name in approvers if not name.startswith("user:")]


def _are_enough(users: Sequence[str], groups: Sequence[str], run: Run, key: str, policy: Mapping[str, Any]) -> bool:
    """Whether enough people who can sign in may approve; else the gate goes to admins at once."""
    able = User.objects.filter(Q(username__in=users) | Q(groups__name__in=groups), is_active=True).distinct()
    if not policy["allow_self"]:
        able = able.exclude(pk__in=run.starters)
    if policy["distinct_from"]:
        agreed = Decision.objects.agreeing().filter(gate__run=run)
        elsewhere = agreed.filter(gate__key__in=policy["distinct_from"]).exclude(gate__key=key)
        able = able.exclude(pk__in=elsewhere.filter(by__isnull=False).values("by"))
    quorum = policy["quorum"]
    if not isinstance(quorum, Mapping):
        return bool(able[:quorum].count() >= quorum)
    members = {name: able.filter(groups__name=name.partition(":")[2]) for name in quorum}
    return all(members[name][:count].count() >= count for name, count in quorum.items())


def _ordered(value: Any) -> Any:
    """The same value with its keys in order: jsonb gives them back in an order of its own."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, float) and value.is_integer():  # jsonb gives 1e16 and -0.0 back as whole numbers
        return int(value)
    return [_ordered(item) for item in value] if isinstance(value, (list, tuple)) else value
