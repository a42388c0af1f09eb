"""What a policy does when nobody has decided in time, or not yet."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from approvals.models import Gate
from approvals.services import timing
from approvals.services.deciding import decide_as_policy, lock
from approvals.services.opening import split
from runs.clock import database_now, iso
from runs.models import Kind, Run
from runs.services import journal, moves

NOBODY_DID = "Nobody decided in time."


def expire(gate_id: uuid.UUID) -> bool:
    """Apply the gate's timeout choice. False: it is not due, or not open any more; nothing was done."""
    return expire_together([gate_id], skip_locked=False) == 1


@transaction.atomic
def expire_together(gate_ids: Sequence[uuid.UUID], *, skip_locked: bool = True) -> int:
    """The same for several in one commit, in this order; how many. The next time is left what somebody else has locked, and all
    but the first of one run's: what happens at one gate may close the others.
    """
    places = dict(Gate.objects.filter(pk__in=gate_ids).values_list("pk", "run_id"))
    wanted = Run.objects.filter(pk__in=set(places.values())).order_by("pk")  # whoever locks several runs does it in one order
    runs = {run.pk: run for run in wanted.select_for_update(no_key=True, skip_locked=skip_locked)}
    locked = Gate.objects.select_for_update(no_key=True, of=("self",)).select_related("branch").in_bulk(list(places))
    now, fired = database_now(), 0
    for gate_id in gate_ids:
        gate = locked.get(gate_id)
        run = None if gate is None else runs.pop(gate.run_id, None)
        if gate is None or run is None or not gate.is_open or gate.due_at is None or gate.due_at > now:
            continue
        gate.run = run
        _fire(run, gate, now)
        fired += 1
    return fired


def _fire(run: Run, gate: Gate, now: datetime) -> None:
    choice = gate.on_timeout
    if isinstance(choice, dict):
        _escalate(run, gate, choice, now)
    elif choice == "keep":
        _keep(run, gate, now)
    else:
        decide_as_policy(run, gate, choice, NOBODY_DID)


@transaction.atomic
def remind(gate_id: uuid.UUID) -> bool:
    """Say that the gate is still open. False: it is not to be reminded of, or not open any more; nothing was done.

    Reminders that are due together (after an outage, say) are one.
    """
    run, gate = lock(gate_id)
    now = database_now()
    if not gate.is_open or gate.remind_at is None or gate.remind_at > now:
        return False
    if gate.due_at is not None and gate.due_at <= now:  # its timeout says more
        _save(gate, timing.coming([]))
        return False
    coming = [at for at in gate.reminders if at > now]
    again = timing.coming(coming)
    if gate.due_at is None and not coming and gate.policy["timeout"]:  # kept open: once per timeout
        again = timing.coming([timing.after(gate.policy, now, gate.policy["timeout"])])
    _save(gate, again)
    _tell(run, gate, Kind.REMINDED, {"due_at": iso(gate.due_at), **_overdue(gate)})
    return True


def _keep(run: Run, gate: Gate, now: Any) -> None:
    """It goes on waiting, and reminds from now on."""
    again = timing.coming([timing.after(gate.policy, now, gate.policy["timeout"])] if gate.policy["timeout"] else [])
    _save(gate, {"due_at": None, **again})
    _tell(run, gate, Kind.REMINDED, _overdue(gate))


def _overdue(gate: Gate) -> dict[str, bool]:
    return {"overdue": True} if gate.due_at is None else {}


def _escalate(run: Run, gate: Gate, choice: dict[str, Any], now: Any) -> None:
    """Add approvers (none is removed) and start the next level's clock, at the end of the one before."""
    users, groups = split(choice["escalate"])
    before = gate.due_at
    assert before is not None
    started = timing.clock(gate.policy, before, float(choice["timeout"]))
    if started["due_at"] <= now + timedelta(seconds=1):  # nobody swept for that long: people get their time all the same
        started = timing.clock(gate.policy, now, float(choice["timeout"]))
    fields = {
        "approver_users": sorted({*gate.approver_users, *users}),
        "approver_groups": sorted({*gate.approver_groups, *groups}),
        "level": gate.level + 1,
        "on_timeout": choice["then"],
        **started,
    }
    _save(gate, fields)
    detail = {"to": choice["escalate"], "due_at": started["due_at"].isoformat(), "level": fields["level"]}
    _tell(run, gate, Kind.ESCALATED, detail)


def _save(gate: Gate, fields: dict[str, Any]) -> None:
    vars(gate).update(fields)
    gate.save(update_fields=list(fields))


def _tell(run: Run, gate: Gate, kind: Kind, detail: dict[str, Any]) -> None:
    about = {"gate": str(gate.id), "title": gate.title, **detail}
    moves.record(gate.branch or run, journal.Entry(kind, gate.step, None, "policy", about))
    moves.poke_on_commit(run)
