"""Taking open gates back when their run no longer waits for them."""

from approvals.models import Gate, GateStatus
from runs.clock import Now
from runs.models import Kind, Run
from runs.services import journal


def withdraw_all(run: Run, *, by: str, reason: str) -> int:
    """Withdraw the run's open gates; the run is locked. Returns how many."""
    gates = list(Gate.objects.select_for_update(no_key=True).filter(run=run).open().order_by("pk"))
    for gate in gates:
        Gate.objects.filter(pk=gate.pk).update(status=GateStatus.WITHDRAWN, final_at=Now())
        detail = {"gate": str(gate.id), "title": gate.title, "reason": reason}
        journal.record(run.pk, journal.Entry(Kind.GATE_WITHDRAWN, gate.step, None, by, detail))
    return len(gates)
