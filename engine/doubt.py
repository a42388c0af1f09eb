"""An effect that may have acted: what is asked before it is done again, and what becomes of each answer.

The functions carry a stretch on and say whether the run is still in this worker's hands, as its step loop wants it.
"""

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from engine import boundary, effects, endings, timelimit
from engine.context import RunCtx
from engine.insisting import insist
from engine.requests import stop_if_requested
from runs import bell
from runs.clock import Now
from runs.models import Kind
from runs.services import journal, moves
from workflows import Happened, NotHappened, Partly
from workflows import state as states
from workflows.attempts import Failure, Result, failure
from workflows.steps import Step

if TYPE_CHECKING:
    from engine.stretch import Stretch

FIRST_LOOK = 0.1  # seconds; the pause between two looks doubles


def settle(stretch: "Stretch", step: Step, ctx: RunCtx) -> bool:
    """Ask before the effect is done (again), and follow the answer."""
    run = stretch.run
    asked = verify(stretch, step, ctx)
    if asked is None:
        return endings.put_back(run, ctx)
    if isinstance(asked.answer, Happened):
        return stretch.commit(Result(asked.answer.updates), ctx, raised_by=step)
    if asked.wait:  # too early to believe: a request may be in flight, or a read stale
        return endings.put_back(run, ctx, after=asked.wait, honours=False)
    settled, reason = isinstance(asked.answer, (NotHappened, Partly)), run.doubt_reason
    if settled:
        run.doubt_at, run.doubt_reason = None, ""  # the row follows with what comes next
    may_try = settled or step.on_unknown == "retry"
    if may_try and run.failures >= step.retry.attempts:
        return endings.fail(run, Failure("AttemptsUsedUp", reason, "", retryable=False), ctx)
    if isinstance(asked.answer, Partly):
        return _keep_part(stretch, step, asked.answer, ctx)
    if may_try and not boundary.may_still_start(run):  # verify took its time: cancelled, held, or overdue meanwhile
        return endings.put_back(run, ctx)
    if may_try:
        return stretch.attempt(step, ctx)
    if step.on_unknown == "fail":
        text = f"nobody can tell whether {step.name!r} happened: {asked.reason}"
        return endings.fail(run, Failure("OutcomeUnknown", text, "", retryable=False), ctx)
    return stretch.wait([effects.outcome_question(run, step, stretch.state, stretch.values)], None, ctx)


def learn(stretch: "Stretch", ctx: RunCtx) -> bool | None:
    """Before a request or a deadline stops the run: what became of an effect in flight. None: nothing to be kept."""
    step = stretch.steps.get(stretch.run.step)
    if step is None or not step.is_effect or stretch.run.doubt_at is None or stretch.run.fan_out is not None:
        return None
    asked = verify(stretch, step, ctx)
    if asked is None:
        return None
    if asked.wait:
        return endings.put_back(stretch.run, ctx, after=asked.wait, honours=False)
    if not isinstance(asked.answer, Happened):
        if isinstance(asked.answer, NotHappened):
            stretch.run.doubt_at, stretch.run.doubt_reason = None, ""
        return None
    return stretch.commit(Result(asked.answer.updates), ctx, raised_by=step)


def is_confirmed(stretch: "Stretch", step: Step, ctx: RunCtx) -> bool | None:
    """Look until ``verify`` sees what the effect has just reported done, up to ``settle``. None: the worker stops."""
    end, pause = time.monotonic() + step.settle, FIRST_LOOK
    while True:
        asked = verify(stretch, step, ctx)
        if asked is None or timelimit.is_stopping():
            return None
        if isinstance(asked.answer, Happened):
            return True
        rest = end - time.monotonic()
        if rest <= 0:
            return False
        pause = min(pause, rest)
        try:
            with timelimit.limit(pause + 1.0), suppress(timelimit.StepTimeout):
                time.sleep(pause)
        except timelimit.ShutdownCut:
            return None
        pause *= 2


def verify(stretch: "Stretch", step: Step, ctx: RunCtx) -> effects.Asked | None:
    """Ask ``verify`` and journal the answer; None: the worker was stopped meanwhile, and nothing is known."""
    asked = effects.ask_verify(step, stretch.state, stretch.run, ctx)
    if asked is not None:
        detail = asked.as_json(ctx.idempotency_key, stretch.run.visit)
        stretch.note(journal.Entry(Kind.VERIFIED, step.name, stretch.run.attempt, "", detail))
    return asked


@insist
def _keep_part(stretch: "Stretch", step: Step, answer: Partly, ctx: RunCtx) -> bool:
    """Keep what is done as a checkpoint; the step is due again, sees it, and keeps its visit and key."""
    run = stretch.run
    try:
        change = states.apply(stretch.state, stretch.values, answer.updates)
    except states.StateInvalid as error:
        return endings.fail(run, failure(error, step), ctx, acted=True)
    with boundary.fenced(run) as row:
        fields = stretch.write_checkpoint(change, ctx)
        fields |= {"doubt_at": None, "doubt_reason": "", "attempt": row.attempt + 1, "available_at": Now()}
        moves.move(row, "put_back", **fields, **endings.spend(row, ctx, kept=True))
        stop_if_requested(row)
        bell.ring_on_commit(row.run_id)
    return False
