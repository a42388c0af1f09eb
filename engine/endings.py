"""How a worker gives a run back: tried again later, failed, put back, held, cancelled. Each is one fenced commit.

The functions that end the worker's part return False, as the step loop wants it.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db.models import F

from approvals.services import ending
from engine import boundary
from engine.claim import Claimed
from engine.context import RunCtx
from engine.insisting import insist
from engine.requests import stop_as_requested, stop_if_requested
from runs import bell
from runs.clock import Now, database_now
from runs.models import Branch, Kind, Run
from runs.moves import Requested
from runs.services import journal, moves
from workflows import masking
from workflows.attempts import Failure
from workflows.steps import Step

AT_ONCE = 0.005  # seconds
ERROR_SHOWN = 2000  # characters of an error's text that a run shows in lists; the journal has all of it


@insist
def failed_attempt(
    run: Claimed, step: Step, failed: Failure, ctx: RunCtx, *, acted: bool = True, **kept: Any
) -> bool:  # fmt: skip
    """Try again later, or fail the run after the last attempt. ``acted``: an effect's own function had begun."""
    failed = scrubbed(run, failed)
    if failed.cut:
        return put_back(run, ctx, doubt=failed.message if step.is_effect and acted else "")
    doubtful = step.is_effect and not failed.certain
    if not failed.retryable and not doubtful:
        return fail(run, failed, ctx)
    if run.failures + 1 >= step.retry.attempts and not doubtful:
        return fail(run, failed, ctx)
    delay = max(step.retry.delay(run.failures + 1), failed.retry_after or 0.0)
    if doubtful:  # verify is asked even when no attempt is left
        delay = min(delay, step.settle)
    detail = failure_detail(failed, ctx) | {"retry_in": round(delay, 3), "of": step.retry.attempts} | kept
    if doubtful:
        detail["in_doubt"] = True
    ctx.outcome = "failed"
    with boundary.fenced(run) as row:
        now = database_now()
        fields: dict[str, Any] = {"available_at": now + timedelta(seconds=delay), **spend(row, ctx)}
        fields["pause"] = run.pause if run.is_decided else None  # what was decided is still to be carried out
        fields |= {"doubt_at": run.doubt_at, "doubt_reason": run.doubt_reason}  # as it was settled before this attempt
        if doubtful:
            fields |= {"doubt_at": now, "doubt_reason": f"{failed.type}: {failed.message}"[:2000]}
        entry = journal.Entry(Kind.ATTEMPT_FAILED, step.name, row.attempt, "", detail, run.started_at)
        # an effect that may not be tried again is still verified; then it fails
        failures = row.failures + 1 if failed.retryable else max(row.failures + 1, step.retry.attempts)
        moves.move(row, "put_back", entry, attempt=row.attempt + 1, failures=failures, **fields)
        if not doubtful:
            stop_if_requested(row)
        if delay < AT_ONCE:  # else the sweeper rings when it is due
            bell.ring_on_commit(row.run_id)
    return False


@insist
def fail(run: Claimed, failed: Failure, ctx: RunCtx, *, acted: bool = False, **kept: Any) -> bool:
    """End the run. ``acted``: its effect may have happened, so that a retry asks before it acts again."""
    failed = scrubbed(run, failed)
    ctx.outcome = "failed"
    detail = failure_detail(failed, ctx) | kept
    with boundary.fenced(run) as row:
        error = row.error_here(failed.type, failed.message[:ERROR_SHOWN])
        failure = journal.Entry(Kind.ATTEMPT_FAILED, row.step, row.attempt, "", detail, run.started_at)
        doubt: dict[str, Any] = {"doubt_at": run.doubt_at, "doubt_reason": run.doubt_reason}
        if acted:
            doubt = {"doubt_at": Now(), "doubt_reason": failed.message[:ERROR_SHOWN]}
        ending.fail(row, error, failure, **doubt, **spend(row, ctx))
    return False


def scrubbed(run: Claimed, failed: Failure) -> Failure:
    """Without the state's secrets, which an error may repeat."""
    if not run.secrets:
        return failed
    message, traceback = (masking.scrubbed(text, run.secrets) for text in (failed.message, failed.traceback))
    return replace(failed, message=message, traceback=traceback)


def failure_detail(failed: Failure, ctx: RunCtx) -> dict[str, Any]:
    """Of an attempt's entry in the journal."""
    return {
        "error": {"type": failed.type, "message": failed.message, "traceback": failed.traceback},
        **({"usage": ctx.used.as_json()} if ctx.used.as_json() else {}),
        **({"logs": ctx.lines} if ctx.lines else {}),
    }


def spend(row: Run | Branch, ctx: RunCtx, *, kept: bool = False) -> dict[str, Any]:
    """What the attempt used, added to the row's totals: tokens of one that failed are spent all the same.

    A branch's are added to its run's at once, unless they are ``kept`` with a finished step, of which the run is told later.
    """
    one = ctx.used
    used: dict[str, Any] = {
        "input_tokens": one.input_tokens, "output_tokens": one.output_tokens, "cost_usd": one.cost_usd
    }  # fmt: skip
    if isinstance(row, Branch) and not kept and any(used.values()):
        Run.objects.filter(pk=row.run_id).update(**{name: F(name) + value for name, value in used.items()})
    return {name: getattr(row, name) + value for name, value in used.items()}


@insist
def put_back(run: Claimed, ctx: RunCtx | None = None, *, after: float = 0.0, doubt: str = "", honours: bool = True) -> bool:
    """Give the run back unfinished: others are due, the worker stops, or an answer is not yet to be believed.

    ``doubt``: why its effect may have acted. ``honours=False``: a cancel or hold waits until the answer can be believed.
    """
    with boundary.fenced(run) as row:
        now = database_now()
        fields: dict[str, Any] = {"available_at": now + timedelta(seconds=after), **(spend(row, ctx) if ctx else {})}
        if doubt:
            fields |= {"doubt_at": now, "doubt_reason": doubt, "attempt": row.attempt + 1}
        moves.move(row, "put_back" if run.rolls_back_from is None else "put_back_undo", **fields)
        if honours:
            stop_if_requested(row)
        if not after:
            bell.ring_on_commit(row.run_id)
    return False


@insist
def honour(run: Claimed) -> bool:
    """Stop as requested; a request that was taken back meanwhile is none."""
    with boundary.fenced(run) as row:
        _stop_or_go_on(row)
    return False


def _stop_or_go_on(row: Any) -> None:
    if row.requested:
        stop_as_requested(row)
    else:
        moves.move(row, "put_back", available_at=Now())
        bell.ring_on_commit(row.pk)


@insist
def stop_at_breakpoint(run: Claimed) -> bool:
    """Hold the run before the step it has come to; the breakpoint is used up. One that was taken back meanwhile is none."""
    here = {run.step, run.began_as}
    with boundary.fenced(run) as row:
        if row.requested or here.isdisjoint(row.breakpoints):
            _stop_or_go_on(row)
            return False
        reason = f"breakpoint before {run.step}"
        entry = journal.Entry(Kind.HELD, run.step, None, "", {"reason": reason})
        moves.move(row, "hold", entry, reason=reason, breakpoints=[step for step in row.breakpoints if step not in here])
    return False


@insist
def hold(run: Claimed, why: str, **fields: Any) -> bool:
    """Hold a run that cannot, or must not, go on as it is; a cancel that was requested comes first.

    A branch is put back, and its run held when none of its branches is in a step any more.
    """
    with boundary.fenced(run) as row:
        if isinstance(row, Branch) and row.requested == Requested.CANCEL:  # what is in doubt stays so
            ending.fail(row, row.error_here("NotLookedUp", why))
        elif isinstance(row, Branch):
            moves.move(row, "put_back")
            asked = {"requested": Requested.HOLD, "reason": why, **fields}
            Run.objects.filter(pk=row.run_id, requested=Requested.NOTHING).update(**asked)
        elif row.requested in (Requested.CANCEL, Requested.ROLL_BACK):
            stop_as_requested(row)
        else:
            entry = journal.Entry(Kind.HELD, run.step, None, "holdfast", {"reason": why})
            moves.move(row, "hold", entry, reason=why, **fields)
    return False
