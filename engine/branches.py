"""A worker in a fan-out: branch after branch, each claimed, fenced and committed by itself, the run's row left alone."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from engine import doubt, endings, timelimit
from engine.boundary import Fenced, fence
from engine.branch_claim import ADVANCE, FINISH, STILL, Entered, enter
from engine.claim import Claimed
from engine.context import RunCtx
from engine.insisting import insist
from engine.services import settling
from engine.stretch import Stretch
from runs import hot
from runs.clock import database_now
from runs.moves import Requested
from runs.places import arrival, finished_step
from workflows import codec, joining
from workflows import state as states
from workflows.attempts import Failure
from workflows.errors import StepGone

log = structlog.get_logger("holdfast.run")


def carry(run_id: uuid.UUID, worker: int) -> bool:
    """Carry on one branch of the run after the other, until none may start. False: it has none in fan-out."""
    entered = enter(run_id, worker)
    if entered is None:
        return False
    while not entered.is_over() and (taken := entered.take()) is not None:
        stretch = BranchStretch(entered)
        try:
            if stretch.begin(*taken):
                stretch.go_or_fail()
        except Fenced:
            log.warning("the branch was taken over; this worker changed nothing", run_id=str(run_id))
        finally:
            timelimit.rest()
    settling.settle(run_id)
    return True


class BranchStretch(Stretch):
    """The step loop over branches: where one is finished, the next is taken in the same commit."""

    def __init__(self, entered: Entered) -> None:
        self.entered, self.workflow, self.steps = entered, entered.workflow, entered.workflow.branches
        self.began, self.forced_gate = entered.began, ""

    def begin(self, run: Claimed, still: list[Any]) -> bool:
        """Come to a branch that was taken. False: it cannot be carried on, and its run is held."""
        assert run.part is not None
        self.run, self.spent = run, Decimal(0)
        self._see(still)
        try:
            if run.step != "end":
                run.began_as, run.step = run.step, self.workflow.current_name(run.step)
            seen = joining.with_parts(self.entered.state, self.entered.values, run.part.done)
        except StepGone as error:
            return endings.hold(run, f"Branch {run.part.index}: {error}")
        except Exception as error:  # a reducer of the author's that takes its own old values no more, say
            return endings.hold(run, f"Branch {run.part.index}: its state cannot be put together: {error!r}")
        self.come_to(seen.state, seen.values)
        return True

    def _may_start(self) -> bool:
        if self.run.requested == Requested.CANCEL and self.run.doubt_at is not None:
            return self._learn()
        if self.run.requested or not self.may or timelimit.is_stopping() or self.entered.is_over():
            return endings.put_back(self.run)
        if limit := self._limit_reached():
            return self._stop_at(*limit)
        return True

    def _learn(self) -> bool:
        """The run is to be cancelled: what became of the effect in doubt is all that is still asked."""
        ctx = RunCtx(self.run)
        learned = doubt.learn(self, ctx)
        if learned is not None:
            return learned
        if timelimit.is_stopping():
            return endings.put_back(self.run, ctx, honours=False)
        text = "the run was cancelled before it was done; what was found out of its effect is in the journal"
        return endings.fail(self.run, Failure("Cancelled", text, "", retryable=False), ctx)

    def _one_step(self) -> bool:
        if self.run.step == "end" and not self.run.awaits_signal and not self.run.is_decided:  # it slept, or waited, last
            return self._finish(None, RunCtx(self.run))
        return super()._one_step()

    def target(self, goto: str | None) -> str:
        return "end" if goto is None else super().target(goto)

    def advance(self, target: str, change: states.Change, ctx: RunCtx) -> bool:
        kept = self._finished_step(change, ctx)
        ctx.outcome = "done"
        if target == "end":
            return self._finish(kept, ctx)
        self._next(target, kept, ctx)
        self.come_to(change.state, change.values)
        return True

    def write_checkpoint(self, change: states.Change, ctx: RunCtx, next_step: str = "") -> dict[str, Any]:
        assert self.run.part is not None
        return {"done": [*self.run.part.done, self._finished_step(change, ctx, at=database_now())]}

    def _finished_step(self, change: states.Change, ctx: RunCtx, at: datetime | None = None) -> dict[str, Any]:
        part = joining.part(self.state, self.values, change)
        usage, logs = ctx.used.as_json(), ctx.lines
        return finished_step(self.run, part, at=at, started_at=self.run.started_at, usage=usage, logs=logs)

    def _finish(self, kept: dict[str, Any] | None, ctx: RunCtx) -> bool:
        """The branch's last boundary, which takes the next one. Whether there was one, and it can be carried on."""
        taken, still = self._finish_and_take(kept, ctx)
        return taken[0] is not None and self.begin(self.entered.claimed(taken), still)

    @insist
    def _finish_and_take(self, kept: dict[str, Any] | None, ctx: RunCtx) -> tuple[Any, list[Any]]:
        """The columns of the branch that is taken (None: none is due), and what the run says then. Raises Fenced."""
        values = {**self.entered.asked(), **self._kept(kept, ctx)}
        values["slot"] = None if self.run.part is None else self.run.part.slot
        finished, still = hot.then((FINISH, values), (STILL, values))
        if not finished:
            raise Fenced
        return finished[0][1:], still

    @insist
    def _next(self, step: str, kept: dict[str, Any], ctx: RunCtx) -> None:
        run = self.run
        assert run.part is not None
        values = {**self.entered.asked(), **self._kept(kept, ctx), "next_step": step}
        moved, still = hot.then((ADVANCE, values), (STILL, values))
        if not moved:
            raise Fenced
        run.part.done.append(kept)
        vars(run).update({**arrival(run, step), "began_as": step, "boundary": run.boundary + 1, "started_at": moved[0][0]})
        self.spent += ctx.used.cost_usd  # the run hears of it when the branch has ended
        self._see(still)

    def _kept(self, kept: dict[str, Any] | None, ctx: RunCtx) -> dict[str, Any]:
        used = ctx.used
        return {
            **{f"this_{name}": value for name, value in fence(self.run).items()},
            "kept": codec.dumps([] if kept is None else [kept]).decode(),
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "cost_usd": used.cost_usd,
        }

    def _see(self, still: list[Any]) -> None:
        """What the run's row says after the commit that took, or moved, the branch."""
        self.may = bool(still) and bool(still[0][0])
        if still:
            self.run.cost_usd = still[0][1] + self.spent
