"""A gate as programs and sockets see it."""

from typing import Any

from django.db.models import Prefetch

from approvals.models import Delegation, Gate, GateKind, GateQuerySet, Risk
from approvals.models.gate import CLAIM_LASTS
from approvals.services.outcome import is_put_off
from approvals.services.tallying import tally
from runs.clock import iso
from workflows import masking, registry


def for_json(gates: GateQuerySet) -> GateQuerySet:
    """With all that ``gate_as_json`` reads."""
    passed_on = Prefetch("delegations", Delegation.objects.filter(ended_at=None).select_related("holder", "receiver"))
    return gates.for_list().prefetch_related(passed_on)


def gate_as_json(gate: Gate) -> dict[str, Any]:
    """The gate in full, of ``for_json``. Secret context values are masked."""
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
        "due_at": iso(gate.due_at),
        "level": gate.level,
        "remind_at": iso(gate.remind_at),
        "risk": Risk(gate.risk).name.lower(),
        "claim": _claim(gate),
        "acts": gate.acts,
        "delegations": [
            {"holder": one.holder.get_username(), "to": one.receiver.get_username(), "at": one.at.isoformat()}
            for one in gate.delegations.all()
        ],
        "undo_until": ((gate.branch or gate.run).pause or {}).get("until") if _awaits(gate) else None,
        "policy": gate.policy,
        "approvers": {"users": gate.approver_users, "groups": gate.approver_groups},
        **_votes(gate),
        "version": gate.version,
        "proposal_hash": gate.proposal_hash,
        "decisions": [decision_as_json(decision) for decision in gate.decisions.all()],
        "outcome": {"verdict": gate.outcome_verdict, "by": gate.outcome_by, "at": iso(gate.final_at)} if decided else None,
        "final_at": iso(gate.final_at),
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
        "acting_for": decision.acts_for or None,
        "bypass": decision.bypass,
        "voided": not decision.stands,
    }


def _claim(gate: Gate) -> dict[str, Any] | None:
    """Who has said that they are on it; after a quarter of an hour that counts no more."""
    if gate.claimed_by is None or gate.claimed_at is None:
        return None
    until = gate.claimed_at + CLAIM_LASTS
    return {"by": gate.claimed_by.get_username(), "at": gate.claimed_at.isoformat(), "until": until.isoformat()}


def _awaits(gate: Gate) -> bool:
    """Whether its decision is still to be carried out."""
    return bool(gate.outcome_verdict) and is_put_off(gate.branch or gate.run, gate)


def _votes(gate: Gate) -> dict[str, Any]:
    """The count; ``quorum`` has what is needed and given in all, ``votes`` by group, and the rejections."""
    votes = tally(gate)
    groups = {name: {"needed": needed, "got": got} for name, (needed, got) in votes.groups.items()}
    rejections = {"needed": gate.veto, "got": votes.vetoes}
    return {
        "quorum": {"needed": votes.needed, "got": votes.got},
        "votes": {"groups": groups, "rejections": rejections},
    }
