"""Taking open gates back when their run no longer waits for them."""

from datetime import timedelta
from typing import Any

from django.db.models import F, Q

from approvals.models import Gate, GateKind, GateStatus
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run
from runs.moves import BranchStatus
from runs.services import journal, moves


def withdraw_all(run: Run, *, by: str, reason: str) -> int:
    """Withdraw the run's open gates; the run is locked. Returns how many."""
    open_ones = Gate.objects.filter(run=run).open().select_related("branch").order_by("pk")
    gates = list(open_ones.select_for_update(no_key=True, of=("self",)))
    for gate in gates:
        Gate.objects.filter(pk=gate.pk).update(status=GateStatus.WITHDRAWN, final_at=Now())
        detail: dict[str, Any] = {"gate": str(gate.id), "title": gate.title, "reason": reason}
        if gate.branch is not None:
            detail["branch"] = gate.branch.index
        journal.record(run.pk, journal.Entry(Kind.GATE_WITHDRAWN, gate.step, None, by, detail))
    return len(gates)


def reopen(branch: Branch) -> None:
    """Ask again what the branch's step has asked, for the run is tried again; the clock begins anew, earlier votes are void."""
    if branch.status == BranchStatus.FAILED:
        fields = {"error": None, "told_at": None, "attempt": branch.attempt + 1}
        moves.move(branch, "ask_again", **fields)
    again = Q(status=GateStatus.WITHDRAWN) | Q(status=GateStatus.DECIDED, kind=GateKind.APPROVAL)
    for gate in branch.gates.filter(again, visit=branch.visit).order_by("ordinal"):
        gate.decisions.filter(voided_at=None).update(voided_at=Now())
        timeout = gate.policy["timeout"]
        due_at = None if timeout is None else database_now() + timedelta(seconds=timeout)
        Gate.objects.filter(pk=gate.pk).update(
            status=GateStatus.OPEN,
            final_at=None,
            due_at=due_at,
            outcome_verdict="",
            outcome_by="",
            version=F("version") + 1,
            level=0,
            on_timeout=gate.policy["on_timeout"],
        )
        detail = {"gate": str(gate.id), "title": gate.title, "due_at": due_at.isoformat() if due_at else None}
        moves.record(branch, journal.Entry(Kind.GATE_REOPENED, gate.step, branch.attempt, "", detail))
