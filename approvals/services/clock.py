"""What a policy does when nobody has decided in time."""

import uuid
from datetime import timedelta

from django.db import transaction

from approvals.models import Gate
from approvals.services.deciding import decide
from runs.clock import database_now
from runs.models import Kind, Run
from runs.services import journal, moves


@transaction.atomic
def expire(gate_id: uuid.UUID) -> bool:
    """Apply the gate's timeout choice. False: it is not due, or not open any more; nothing was done."""
    run = moves.lock(Gate.objects.values_list("run_id", flat=True).get(pk=gate_id))
    gate = Gate.objects.select_for_update(no_key=True).get(pk=gate_id)
    if not gate.is_open or gate.due_at is None or gate.due_at > database_now():
        return False
    choice = gate.on_timeout
    if isinstance(choice, dict):
        _escalate(run, gate, choice)
    elif choice == "keep":
        gate.due_at = None
        gate.save(update_fields=["due_at"])
        detail = {"gate": str(gate.id), "title": gate.title, "overdue": True}
        journal.record(run.pk, journal.Entry(Kind.REMINDED, gate.step, None, "policy", detail))
        moves.poke_on_commit(run)
    else:
        if choice not in gate.verdicts:  # the policy may do what it says, whether or not people have that button
            gate.verdicts = [*gate.verdicts, choice]
            Gate.objects.filter(pk=gate.pk).update(verdicts=gate.verdicts)
        comment = "Nobody decided in time."
        decide(gate.pk, by=None, verdict=choice, version=None, proposal_hash=None, comment=comment, channel="policy")
    return True


def _escalate(run: Run, gate: Gate, choice: dict[str, object]) -> None:
    """Add approvers (none is removed) and start the next level's clock."""
    added = [str(name) for name in choice["escalate"]]  # type: ignore[attr-defined]
    users = [name.removeprefix("user:") for name in added if name.startswith("user:")]
    groups = [name.partition(":")[2] for name in added if not name.startswith("user:")]
    gate.approver_users = sorted({*gate.approver_users, *users})
    gate.approver_groups = sorted({*gate.approver_groups, *groups})
    gate.level += 1
    gate.due_at = database_now() + timedelta(seconds=float(str(choice["timeout"])))
    gate.on_timeout = choice["then"]
    gate.save(update_fields=["approver_users", "approver_groups", "level", "due_at", "on_timeout"])
    detail = {"gate": str(gate.id), "title": gate.title, "to": added, "due_at": gate.due_at.isoformat()}
    journal.record(run.pk, journal.Entry(Kind.ESCALATED, gate.step, None, "policy", detail))
    moves.poke_on_commit(run)
