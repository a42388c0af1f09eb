"""Signals from outside, for runs that wait for one or will."""

from typing import Any

from django.db import transaction
from django.db.models import F

from engine.services.starting import InputInvalid
from runs import bell
from runs.access import require
from runs.clock import Now
from runs.models import Act, Branch, Kind, Run, Signal
from runs.moves import BranchStatus, Status
from runs.places import arrival
from runs.services import audit, journal, moves
from workflows import codec
from workflows.answers import check_name

PAYLOAD_LIMIT = 64 * 1024  # bytes of JSON
KEPT = 1000  # signals of one run that nobody has read


@transaction.atomic
def send(run_id: Any, *, by: Any, name: str, payload: Any = None) -> Run:
    """Hand the signal to whoever waits for that name (of several branches the first), or keep it for the next who does.

    Raises MoveRefused for a run that is over, NotPermitted, InputInvalid.
    """
    require(by, "operate")
    _check(name, payload)
    run = moves.lock(run_id)
    if run.is_final or run.rolls_back:
        raise moves.MoveRefused(run, "signal")
    detail = {"name": name, "payload": payload}
    row = _waiting(run, name)
    signal = Signal(run=run, name=name, payload=payload)
    if row is not None:
        signal.visit, signal.branch = row.visit + 1, row if isinstance(row, Branch) else None
        place: dict[str, Any] = {**arrival(row, row.pause["goto"]), "available_at": Now(), "boundary": F("boundary") + 1}  # type: ignore[index] # it waits
        type(row).objects.filter(pk=row.pk).update(**place, updated_at=Now())
        moves.record(row, journal.Entry(Kind.SIGNAL, row.step, None, by.get_username(), detail))
        bell.ring_on_commit(run.pk)
    else:
        if Signal.objects.filter(run=run, visit=None).count() >= KEPT:
            raise InputInvalid({"name": f"{KEPT} signals that nobody has read are kept for this run already"})
        moves.record(run, journal.Entry(Kind.SIGNAL, run.step, None, by.get_username(), {**detail, "kept": True}))
    signal.save()
    audit.record(by, Act.SIGNALLED, run=run, changed={"name": name})
    moves.poke_on_commit(run)
    run.refresh_from_db()
    return run


def _waiting(run: Run, name: str) -> Run | Branch | None:
    if run.signal_name == name and run.status in (Status.QUEUED, Status.HELD):
        return run
    if run.fan_out_id is None:
        return None
    waiting = Branch.objects.filter(fan_out=run.fan_out_id, status=BranchStatus.QUEUED, pause__name=name)
    first = waiting.order_by("index").values_list("pk", flat=True).first()
    branch = None if first is None else moves.lock_branch(first, run)
    return branch if branch is not None and branch.status == BranchStatus.QUEUED and branch.signal_name == name else None


def _check(name: str, payload: Any) -> None:
    errors: dict[str, str] = {}
    try:
        check_name(name)
    except ValueError as error:
        errors["name"] = str(error)
    try:
        if len(codec.dumps(payload)) > PAYLOAD_LIMIT:
            errors["payload"] = f"at most {PAYLOAD_LIMIT} bytes of JSON were expected"
    except ValueError as error:
        errors["payload"] = str(error)
    if errors:
        raise InputInvalid(errors)
