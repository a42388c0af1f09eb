"""Where a run stands, in the words of the person who has to know: who must act, by when, and what happens otherwise."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min, Q

from approvals.consequences import timeout_in_words
from approvals.models import Gate, GateKind
from approvals.services.tallying import tally
from engine import usual
from runs.clock import Now
from runs.models import Branch, Run
from runs.moves import BranchStatus, Status
from workflows import registry
from workflows.errors import StepGone

ENDED = {
    Status.SUCCEEDED: "nobody, it is done",
    Status.REJECTED: "nobody, it was rejected",
    Status.CANCELLED: "nobody, it was cancelled",
    Status.ROLLED_BACK: "nobody, it was rolled back",
}


@dataclass(frozen=True)
class Actor:
    """Who must act. ``kind``: people, operator, nobody; ``until`` is when what ``then`` says happens by itself."""

    kind: str
    words: str
    until: datetime | None = None
    then: str = ""


@dataclass(frozen=True)
class Situation:
    """``position`` is the step's place among those of the workflow, ``usual`` what it usually takes in seconds."""

    actor: Actor
    position: tuple[int, int] | None
    usual: float | None
    attempts: int | None
    is_stuck: bool


def of(run: Run) -> Situation:
    names, attempts = _steps(run)
    place = (names.index(run.step) + 1, len(names)) if run.step in names else None
    people = run.status == Status.WAITING  # whose time says nothing of the step
    often = None if run.is_final or people else usual.of(run.workflow).get(run.step)
    is_stuck = run.stuck_at is not None and Run.objects.stuck().filter(pk=run.pk).exists()
    return Situation(_actor(run, is_stuck, attempts), place, often.seconds if often else None, attempts, is_stuck)


def _steps(run: Run) -> tuple[list[str], int | None]:
    workflow = registry.known(run.workflow, run.version)
    if workflow is None:
        return [], None
    try:
        return list(workflow.steps), None if run.step == "end" else workflow.find(run.step).retry.attempts
    except StepGone:
        return [], None


def _actor(run: Run, is_stuck: bool, attempts: int | None) -> Actor:
    if run.is_copy and not run.is_final:
        return Actor("nobody", "nobody, it is a copy: an admin can fork it")
    if run.is_final:
        if run.can_retry:
            return Actor("operator", "an operator: it does not go on by itself")
        if run.status == Status.FAILED and run.can_roll_back:
            return Actor("operator", "an admin: what is left can be rolled back")
        return Actor("nobody", ENDED.get(Status(run.status), "nobody, it has ended"))
    if run.status == Status.HELD:
        return Actor("operator", "an operator: it goes on when it is released")
    if run.is_held_with_workflow:
        return Actor("operator", f"an operator: it goes on when {run.workflow} is released")
    gates = list(run.gates.open().for_list().by_time_left()[:21])
    if gates:
        return _people(gates)
    if is_stuck:
        return Actor("operator", "an operator should look: this is far longer than usual")
    return _by_itself(run, attempts)


def _people(gates: list[Gate]) -> Actor:
    gate = gates[0]
    if gate.kind == GateKind.OUTCOME:
        words = "an operator: say whether it happened"
    elif gate.kind == GateKind.UNDO:
        words = "an operator: undoing it keeps failing"
    else:
        found = tally(gate)
        words = gate.approvers_in_words() + (f", {found.in_words()} given" if found.needed > 1 else "")
    more = f", at {'20+' if len(gates) > 20 else len(gates)} gates" if len(gates) > 1 else ""
    return Actor("people", words + more, gate.due_at, timeout_in_words(gate.on_timeout) if gate.due_at else "")


def _by_itself(run: Run, attempts: int | None) -> Actor:
    if run.signal_name:
        until = None if run.available_at.year == 9999 else run.available_at
        return Actor("nobody", f"whoever sends the signal “{run.signal_name}”", until, "it goes on without" if until else "")
    if run.is_fanned_out:
        return _branches(run)
    if run.is_put_off:
        what = "it sleeps" if run.pause and run.pause["kind"] == "sleep" else "it tries again by itself"
        return Actor("nobody", "nobody", run.available_at, what)
    if run.status == Status.QUEUED:
        return Actor("nobody", "nobody, a worker takes it as soon as one is free")
    if run.status == Status.ROLLING_BACK:
        return Actor("nobody", "nobody, its effects are being undone")
    last = f", attempt {run.attempt} of {attempts}" if attempts and run.attempt > 1 else ""
    return Actor("nobody", f"nobody, it is at work{last}")


def _branches(run: Run) -> Actor:
    """Of a fan-out under way: somebody outside, where every branch that is open waits for a signal."""
    opened = Branch.objects.filter(fan_out=run.fan_out_id).open()
    if opened.filter(Q(worker__isnull=False) | Q(status=BranchStatus.QUEUED, available_at__lte=Now())).exists():
        return Actor("nobody", "nobody, its branches are at work")
    later = opened.filter(status=BranchStatus.QUEUED).exclude(pause__kind="signal").aggregate(at=Min("available_at"))["at"]
    if later is not None:
        return Actor("nobody", "nobody", later, "branches go on by themselves")
    names = opened.filter(pause__kind="signal").values_list("pause__name", flat=True).distinct()[:3]
    return Actor("nobody", f"whoever sends the signal {' or '.join(f'“{name}”' for name in names)} to its branches")
