"""Taking a decision back: a vote while the gate is open, or the one that closed it while nothing has followed yet."""

import uuid
from typing import Any

from django.db import transaction

from approvals import rights
from approvals.models import Decision, Gate, GateKind, GateStatus, Verdict
from approvals.refusals import NotYours, TooLate
from approvals.services import outcome
from approvals.services.deciding import lock
from approvals.services.opening import rehash
from approvals.services.reopening import LEFT_AT_LEAST, OPEN_AGAIN
from runs.clock import Now, database_now
from runs.models import Act, Branch, Kind, Run
from runs.moves import BranchStatus, Status
from runs.services import audit, journal, moves


@transaction.atomic
def take_back(gate_id: uuid.UUID, decision_id: int, *, by: Any) -> Gate:
    """Void one's own decision; a gate that it closed asks again. Raises Decision.DoesNotExist, NotYours, TooLate."""
    run, gate = lock(gate_id)
    decision = Decision.objects.get(pk=decision_id, gate=gate)
    if decision.by_id != by.pk:
        raise NotYours(gate, "Only who made a decision can take it back.")
    if not decision.stands:
        raise TooLate(gate, "This decision is void already.")
    row: Run | Branch = run if gate.branch_id is None else moves.lock_branch(gate.branch_id, run)
    closed = gate.status == GateStatus.DECIDED
    if not gate.is_open and not (closed and _has_closed(gate, decision) and nothing_followed(run, row, gate)):
        raise TooLate(gate, "What follows this decision has begun; it can be taken back no more.")
    decision.voided_at = database_now()
    decision.save(update_fields=["voided_at"])
    _undo_edit(gate, decision)
    _restore(gate, decision)
    detail = {"gate": str(gate.id), "title": gate.title, "took_back": decision.verdict}
    if closed:
        moves.record(row, journal.Entry(Kind.GATE_REOPENED, gate.step, None, by.get_username(), detail))
        _open(gate)
        _wait_again(row)
    else:
        detail["text"] = "took the vote back"
        moves.record(row, journal.Entry(Kind.NOTE, gate.step, None, by.get_username(), detail))
    moves.poke_on_commit(run)
    audit.record(by, Act.TOOK_BACK, run=run, gate=gate, decision_id=decision.pk, changed={"took_back": decision.verdict})
    gate.refresh_from_db()
    return gate


def _has_closed(gate: Gate, decision: Decision) -> bool:
    """Whether the gate is closed by this decision: as the last, or as one of the approvals that made up the quorum."""
    last = list(gate.decisions.standing())[-1]
    alone = last.bypass or last.by_id is None
    return decision.pk == last.pk or (decision.agrees and last.agrees and not alone)


def nothing_followed(run: Run, row: Run | Branch, gate: Gate) -> bool:
    """Whether the run (or branch) still stands at the gate: a sibling is open, or the decision is still to be carried out."""
    if gate.kind == GateKind.UNDO or run.is_final or run.rolls_back:
        return False
    if row.status in (Status.WAITING, BranchStatus.WAITING):
        return gate.together > 1 and any(one.is_open for one in outcome.opened_with(gate))
    return outcome.is_put_off(row, gate) and row.status in (Status.QUEUED, BranchStatus.QUEUED)


def _undo_edit(gate: Gate, decision: Decision) -> None:
    """What was proposed before is asked again; votes for the edit do not count any more."""
    if decision.verdict != Verdict.EDIT or gate.action is None:
        return
    gate.decisions.standing().filter(pk__gt=decision.pk).update(voided_at=decision.voided_at)
    action = {**gate.action, "args": decision.replaced}
    if action["args"] == action.get("proposed"):
        del action["proposed"]
    gate.action = action
    gate.proposal_hash = rehash(gate)
    gate.version += 1
    gate.save(update_fields=["action", "proposal_hash", "version"])


def _restore(gate: Gate, decision: Decision) -> None:
    """Votes that the decision had voided count again, where whoever gave them still has the right."""
    for vote in gate.decisions.filter(voided_by=decision).select_related("by"):
        if rights.standing(gate, vote.by).right is not None:
            Decision.objects.filter(pk=vote.pk).update(voided_at=None, voided_by=None)


def _open(gate: Gate) -> None:
    due_at = max(gate.due_at, database_now() + LEFT_AT_LEAST) if gate.due_at else None
    Gate.objects.filter(pk=gate.pk).update(**OPEN_AGAIN, due_at=due_at)


def _wait_again(row: Run | Branch) -> None:
    if row.is_decided:
        moves.move(row, "wait_again", pause=None, available_at=Now(), failures=0)
