"""What a worker does when a bell was rung: it takes something that is due, and carries it on."""

import time
import uuid

import psycopg
import structlog

from checkpoints import current, store, verifying
from engine import branch_claim, branches, claim, endings, lease, timelimit
from engine.boundary import Fenced
from engine.claim import Claimed, Taken
from engine.stretch import Stretch
from engine.undoing import Undoing
from runs import poke
from workflows import registry
from workflows import state as states
from workflows.errors import StateUnreadable, StepGone

log = structlog.get_logger("holdfast.run")
REFUSED_PAUSE = 1.0  # seconds


def advance(hint: uuid.UUID | None) -> bool:
    """Take the hinted run or its branches, or what has been due longest, and carry it on. False: nothing was due."""
    try:
        worker = _worker()
        if hint is not None and _carry_hinted(hint, worker):
            return True
        if (taken := claim.take_to_undo(hint, worker) or claim.take_oldest(worker)) is not None:
            if _carry(taken):
                branches.carry(taken[0].id, worker)
            return True
        other = branch_claim.somewhere()
        return other is not None and _carry_hinted(other, worker)
    except claim.NotTaken as error:
        log.warning("nothing can be claimed now", error=str(error))
        time.sleep(REFUSED_PAUSE)  # the sweeper rings again
        return False


def _worker() -> int:
    try:
        return lease.hold()
    except psycopg.OperationalError as error:
        raise claim.NotTaken(str(error)) from error


def _carry_hinted(run_id: uuid.UUID, worker: int) -> bool:
    """The run itself, its branches while it is fanned out, and their join. False: none of it is due."""
    worked = False
    while True:
        taken = claim.take_hinted(run_id, worker)
        if taken is not None and not _carry(taken):
            return True
        if taken is None and worked:
            return True
        worked = branches.carry(run_id, worker)
        if not worked:
            return taken is not None


def _carry(taken: Taken) -> bool:
    """Carry the run on until it ends, waits, is held, or others are due. Whether it has fanned out."""
    run, loaded = taken
    poke.run_changed(run.id)
    try:
        stretch = _prepare(run, loaded)
        if stretch is not None:
            stretch.go_or_fail()
            return stretch.fanned_out
    except Fenced:
        log.warning("the run was taken over; this worker changed nothing", run_id=str(run.id))
    finally:
        timelimit.rest()
    return False


def _prepare(run: Claimed, loaded: store.Loaded | store.HistoryBroken) -> "Stretch | None":
    """What must be right before anything is touched; otherwise the run is held, with the remedy."""
    if isinstance(loaded, store.HistoryBroken):
        verifying.note(loaded)
        endings.hold(run, f"{loaded} It is not resumed from there.")
        return None
    if run.broken_at is not None:
        why = f"The history of run {run.id} is broken at seq {run.broken_at}. It is not resumed beyond that."
        endings.hold(run, f"{why} Restore what was there, and run manage.py verify_history --run {run.id}.")
        return None
    try:
        workflow = registry.version(run.workflow, run.version)
        if run.step != "end":
            run.began_as, run.step = run.step, workflow.current_name(run.step)
    except registry.WorkflowUnknown as error:
        endings.hold(run, f"{error} Deploy the app that defines it, then release the run.")
        return None
    except StepGone as error:
        endings.hold(run, f"{error} Then release the run.")
        return None
    kind = Stretch if run.rolls_back_from is None else Undoing
    try:
        return kind(run, workflow, current.of(run.id, workflow.state, loaded))
    except StateUnreadable as error:
        endings.hold(run, f"{error} Then release the run.")
        return None
    except states.StateInvalid as error:
        endings.hold(run, f"The state does not fit {workflow.state.__name__} any more: {error}.")
        return None
