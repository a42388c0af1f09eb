"""A gate as programs and sockets see it."""

from typing import Any

from approvals.models import Gate, GateKind
from approvals.services.deciding import votes
from workflows import masking, registry


def gate_as_json(gate: Gate) -> dict[str, Any]:
    """The gate in full. Its decisions should be prefetched for a list. Secret context values are masked."""
    schema = registry.schema(gate.run.workflow, gate.run.version)
    decided = bool(gate.outcome_verdict)
    return {
        "id": str(gate.id),
        "run": str(gate.run_id),
        "workflow": gate.run.workflow,
        "branch": gate.branch.index if gate.branch else gate.context.get("branch") if gate.kind == GateKind.UNDO else None,
        "step": gate.step,
        "key": gate.key,
        "kind": gate.kind,
        "status": gate.status,
        "title": gate.title,
        "summary": gate.summary,
        "action": gate.action,
        "verdicts": gate.verdicts,
        "context": masking.masked(schema, gate.context),
        "opened_at": gate.opened_at.isoformat(),
        "due_at": gate.due_at.isoformat() if gate.due_at else None,
        "level": gate.level,
        "policy": gate.policy,
        "approvers": {"users": gate.approver_users, "groups": gate.approver_groups},
        "quorum": {"needed": gate.quorum, "got": votes(gate)},
        "version": gate.version,
        "proposal_hash": gate.proposal_hash,
        "decisions": [decision_as_json(decision) for decision in gate.decisions.all()],
        "outcome": {"verdict": gate.outcome_verdict, "by": gate.outcome_by, "at": _iso(gate.final_at)} if decided else None,
        "final_at": _iso(gate.final_at),
        "carried_from": str(gate.carried_from_id) if gate.carried_from_id else None,
    }


def decision_as_json(decision: Any) -> dict[str, Any]:
    return {
        "id": decision.pk,
        "verdict": decision.verdict,
        "by": decision.by_name,
        "at": decision.at.isoformat(),
        "channel": decision.channel,
        "comment": decision.comment,
        "args": decision.args,
        "voided": decision.voided_at is not None,
    }


def _iso(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
