"""Asking once more at a gate that was closed. Its version goes up, so that an answer to what was seen before is refused."""

from datetime import timedelta
from typing import Any

from django.db.models import F, Q

from approvals.models import Gate, GateKind, GateStatus
from approvals.services import timing
from approvals.services.opening import Question, proposal_hash, proposal_of
from runs.clock import Now, database_now, iso
from runs.models import Branch, Kind, Run
from runs.moves import BranchStatus
from runs.services import journal, moves

LEFT_AT_LEAST = timedelta(seconds=60)  # before the deadline of a gate whose decision was taken back
OPEN_AGAIN: dict[str, Any] = {
    "status": GateStatus.OPEN,
    "final_at": None,
    "outcome_verdict": "",
    "outcome_by": "",
    "version": F("version") + 1,
}


def ask_again(row: Run | Branch, gate: Gate, question: Question) -> None:
    """What was approved is not what would run now: the same gate asks with the fresh proposal, and the votes are void.

    The row is in its worker's hands, and waits from now on.
    """
    fresh, before = proposal_of(question), proposal_of(gate)
    voided = sorted(gate.decisions.standing().values_list("by_name", flat=True))
    again = _from_the_start(gate)
    changed = differences(before, fresh)
    detail = {
        "gate": str(gate.id),
        "title": fresh["title"],
        "changed": changed,
        "void": voided,
        "due_at": iso(again["due_at"]),
    }
    seq = moves.record(row, journal.Entry(Kind.GATE_REOPENED, gate.step, None, "", detail))
    Gate.objects.filter(pk=gate.pk).update(
        **again, **fresh, proposal_hash=proposal_hash(gate.step, fresh), seq=seq, claimed_by=None, claimed_at=None
    )  # fmt: skip
    moves.move(row, "wait", pause=None)


def reopen(branch: Branch) -> None:
    """Ask again what the branch's step has asked, for the run is tried again; the clock begins anew, earlier votes are void."""
    if branch.status == BranchStatus.FAILED:
        fields = {"error": None, "told_at": None, "attempt": branch.attempt + 1}
        moves.move(branch, "ask_again", **fields)
    again = Q(status=GateStatus.WITHDRAWN) | Q(status=GateStatus.DECIDED, kind=GateKind.APPROVAL)
    for gate in branch.gates.filter(again, visit=branch.visit).order_by("ordinal"):
        asked_again = _from_the_start(gate)
        Gate.objects.filter(pk=gate.pk).update(**asked_again)
        detail = {"gate": str(gate.id), "title": gate.title, "due_at": iso(asked_again["due_at"])}
        moves.record(branch, journal.Entry(Kind.GATE_REOPENED, gate.step, branch.attempt, "", detail))


def _from_the_start(gate: Gate) -> dict[str, Any]:
    """Void the votes. Returns what the gate is to be stored with: open, with the whole of its policy's time before it."""
    gate.decisions.standing().update(voided_at=Now())
    started = timing.clock(gate.policy, database_now(), gate.policy["timeout"])
    return {**OPEN_AGAIN, **started, "level": 0, "on_timeout": gate.policy["on_timeout"]}


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What differs between two proposals, by the name that people read: ``{name: {"from", "to"}}``."""
    then, now = _flat(before), _flat(after)
    names = [*then, *(name for name in now if name not in then)]
    return {name: {"from": then.get(name), "to": now.get(name)} for name in names if then.get(name) != now.get(name)}


def _flat(proposal: dict[str, Any]) -> dict[str, Any]:
    action = proposal["action"] or {"name": None, "args": {}}
    return {
        "title": proposal["title"],
        "summary": proposal["summary"],
        "action": action["name"],
        **{f"action.{name}": value for name, value in action["args"].items()},
        **proposal["context"],
    }
