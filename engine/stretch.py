"""A stretch: one run in one worker's hands, step after step, until it ends, waits, is held, or others are due."""

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from approvals.services.opening import Question, open_gates
from checkpoints import current, packing, store
from engine import (
    attempt,
    boundary,
    claim,
    decided,
    doubt,
    effects,
    endings,
    fanning,
    gates,
    inheriting,
    metrics,
    pausing,
    reusing,
    timelimit,
)
from engine.boundary import Fenced
from engine.claim import Claimed
from engine.context import RunCtx
from engine.insisting import insist, is_refusal
from engine.requests import DEADLINE_PASSED, stop_if_requested
from runs.clock import Now, database_now
from runs.models import Kind
from runs.moves import Requested
from runs.services import journal, moves
from workflows import Workflow, codec, masking
from workflows import state as states
from workflows.attempts import Failure, Result, failure
from workflows.steps import Gate, Step

log = structlog.get_logger("holdfast.run")
REFUSED_PAUSE = 1.0  # seconds


class Stretch:
    """The step loop. Every method that writes says whether the run is still in this worker's hands.

    A branch's is engine/branches.py; doubts, pauses and fan-outs are carried on by modules of their own.
    """

    def __init__(self, run: Claimed, workflow: Workflow[Any], found: current.Current) -> None:
        self.run, self.workflow = run, workflow
        self.run.since = found.since
        self.come_to(found.state, found.values)
        self.steps = workflow.steps
        self.began = time.monotonic()
        self.forced_gate = ""
        self.fanned_out = False

    def come_to(self, state: states.State, values: dict[str, Any]) -> None:
        """From now on the next step is given this state."""
        self.state, self.values = state, values
        self.run.secrets = masking.secret_texts(type(state), values)

    def go_or_fail(self) -> None:
        """Whatever an author's values make go wrong ends in a failed run, never in one that nobody owns."""
        try:
            self.go()
        except (Fenced, OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:
            if is_refusal(error):
                raise
            step = self.steps.get(self.run.step)
            failed = failure(error, step or next(iter(self.workflow.steps.values())))
            why = masking.scrubbed(failed.traceback, self.run.secrets)
            log.error("the run fails", run_id=str(self.run.id), step=self.run.step, why=why)
            acted = step is not None and step.is_effect and self.run.rolls_back_from is None
            endings.fail(self.run, failed, RunCtx(self.run), acted=acted)

    def go(self) -> None:
        while self._may_start() and self._one_step():
            pass

    def _may_start(self) -> bool:
        """Whether the next step may start here and now."""
        if self.run.is_decided:
            return True
        unstarted = self.run.started_at is None and self.run.step != "end"
        if self.run.requested or unstarted or self._is_at_breakpoint():
            return self._stop_before_step()
        if timelimit.is_stopping():
            return endings.put_back(self.run)
        if limit := self._limit_reached():
            return self._stop_at(*limit)
        if time.monotonic() - self.began > settings.HOLDFAST_STRETCH and claim.others_due():
            return endings.put_back(self.run)
        return True

    def _stop_before_step(self) -> bool:
        """The claim, or the last boundary, left the next step unstarted: why, and what follows."""
        is_overdue = self.run.deadline_at is not None and self.run.deadline_at <= database_now()
        if self.run.requested or is_overdue:
            learned = doubt.learn(self, RunCtx(self.run))
            if learned is not None:
                return learned and self._may_start()  # which comes here again
        if self.run.requested:
            return endings.honour(self.run)
        if is_overdue:
            return endings.fail(self.run, DEADLINE_PASSED, RunCtx(self.run))
        if self._is_at_breakpoint():
            return endings.stop_at_breakpoint(self.run)
        return endings.put_back(self.run)  # the workflow is held: claims pass its runs over until it is released

    def _is_at_breakpoint(self) -> bool:
        """By the step's name as it is, or as it was when the visit began."""
        return not {self.run.step, self.run.began_as}.isdisjoint(self.run.breakpoints)

    def _limit_reached(self) -> tuple[str, str] | None:
        """The limit that stops a runaway loop, and what to say of it."""
        steps = self.run.steps_allowed or self.workflow.max_steps
        if self.run.visit > steps and self.run.step != "end":
            return "max_steps", f"{steps} steps are done (max_steps)"
        most = self.workflow.max_cost_usd
        cost = self.run.cost_allowed if self.run.cost_allowed is not None else most
        if cost is not None and self.run.cost_usd >= Decimal(str(cost)):
            return "max_cost_usd", f"${self.run.cost_usd} of ${cost} are spent (max_cost_usd)"
        return None

    def _stop_at(self, limit: str, why: str) -> bool:
        if self.workflow.on_limit == "fail":
            return endings.fail(self.run, Failure("LimitReached", why, "", retryable=False), RunCtx(self.run))
        reason = f"{why}. Releasing it allows as much again."
        return endings.hold(self.run, reason, limit=limit)

    def _one_step(self) -> bool:
        if self.run.is_decided:
            return decided.carry_out(self)
        if self.run.fan_out is not None:
            return fanning.join(self)
        if self.run.step == "end":
            return self._end()
        ctx = RunCtx(self.run)
        if self.run.awaits_signal:
            return pausing.timed_out(self, ctx)
        step = self.steps[self.run.step]
        began = time.monotonic()
        about = {"run_id": ctx.run_id, "workflow": self.run.workflow, "step": step.name, "attempt": ctx.attempt}
        if self.run.part is not None:
            about["branch"] = self.run.part.index
        log.info("attempt began", seq=self.run.seq, **about)
        goes_on = self._gate(step, ctx) if isinstance(step, Gate) else self._step(step, ctx)
        took = time.monotonic() - began
        log.info("attempt ended", seq=self.run.seq, outcome=ctx.outcome, duration=round(took, 4), **about)
        metrics.attempt_ended(self.run.workflow, step.name, ctx.outcome, took)
        return goes_on

    # -- steps and effects

    def _step(self, step: Step, ctx: RunCtx) -> bool:
        if step.is_effect and reusing.name_of(self.run, step):
            return reusing.take(self, step, ctx)
        if (step.is_effect and self.run.doubt_at is not None) or (step.check_first and self.run.attempt == 1):
            return doubt.settle(self, step, ctx)
        return self.attempt(step, ctx)

    def attempt(self, step: Step, ctx: RunCtx) -> bool:
        """Run the step, if it is approved, and commit or tell what came of it. What an earlier attempt did is settled."""
        if step.approved_by is not None:
            gate = self.workflow.steps[step.approved_by]
            assert isinstance(gate, Gate)
            allowed = effects.approved(gate, self.state, self.values, self.run, ctx)
            if isinstance(allowed, Failure):
                return endings.failed_attempt(self.run, step, replace(allowed, certain=True), ctx, acted=False)
            if not allowed and self.run.doubt_at is not None:  # a new visit would have a new key
                text = f"nobody can tell whether {step.name!r} happened, and it is not approved any more"
                return endings.fail(self.run, Failure("OutcomeUnknown", text, "", retryable=False), ctx)
            if not allowed and self.run.part is not None:
                text = f"what would run is not what {gate.name!r} has approved, and a branch cannot have it asked again"
                return endings.fail(self.run, Failure("NotApproved", text, "", retryable=False), ctx)
            if not allowed:
                return self._send_back(gate, ctx)
        outcome = attempt.run_step(step, self.state, ctx)
        if isinstance(outcome, Failure):
            return endings.failed_attempt(self.run, step, outcome, ctx)
        if step.confirm:
            confirmed = doubt.is_confirmed(self, step, ctx)
            if confirmed is None:
                return endings.put_back(self.run, ctx, doubt="the worker was stopped before it was confirmed")
            if not confirmed:
                text = f"it reported success, but verify did not see it within {step.settle:g} s"
                unseen = Failure("Unconfirmed", text, "", retryable=True)
                return endings.failed_attempt(self.run, step, unseen, ctx, returned=self._printable(outcome.updates))
        return self.commit(outcome, ctx, raised_by=step)

    @insist
    def _send_back(self, gate: Gate, ctx: RunCtx) -> bool:
        """What would run is not what was approved: the gate is asked (again), and the journal says that nothing ran."""
        if not boundary.may_still_start(self.run):
            return endings.put_back(self.run, ctx)
        text = f"not run: “{gate.name}” is asked, for what would run now is not approved"
        with boundary.fenced(self.run) as row:
            entry = journal.Entry(Kind.NOTE, row.step, row.attempt, "", {"text": text})
            moves.move(
                row, "advance", entry, step=gate.name, visit=row.visit + 1, attempt=1, failures=0, losses=0, doubt_at=None,
                doubt_reason="", saved=None, step_started_at=Now(), **endings.spend(row, ctx),
            )  # fmt: skip
            row.refresh_from_db()
        run, self.forced_gate = self.run, gate.name
        run.step, run.began_as, run.visit, run.attempt, run.failures, run.losses = row.step, row.step, row.visit, 1, 0, 0
        run.boundary, run.seq, run.requested, run.breakpoints = row.boundary, row.seq, row.requested, row.breakpoints
        run.doubt_at, run.doubt_reason, run.saved, run.started_at = None, "", None, row.step_started_at
        return True

    # -- gates

    def _gate(self, gate: Gate, ctx: RunCtx) -> bool:
        is_forced = self.forced_gate == gate.name
        question = gates.question(gate, self.state, self.values, ctx, forced=is_forced)
        if isinstance(question, Failure):
            return endings.failed_attempt(self.run, gate, question, ctx)
        self.forced_gate = ""
        if question is None:
            return self.commit(Result(), ctx)
        asks = is_forced or self.run.forked_from is None or gate.revalidate is not None
        agreed = None if asks else inheriting.find(self.run, question)
        if agreed is not None:
            return inheriting.carry(self, agreed, ctx)
        return self.wait([question], None, ctx)

    @insist
    def wait(self, questions: list[Question], change: states.Change | None, ctx: RunCtx) -> bool:
        """The gate's own boundary: open the gates and suspend the run, in one commit."""
        with boundary.fenced(self.run) as row:
            if row.requested and change is None:
                self.run.requested = row.requested
                return True  # the loop honours it, and no gate opens; the gate is a step that comes again
            fields = self.write_checkpoint(change, ctx) if change is not None else {}
            if row.requested not in (Requested.CANCEL, Requested.ROLL_BACK):
                open_gates(row, questions)  # also while held: the step that asks is not run again
            ctx.outcome = "waits"
            moves.move(row, "wait", **fields, **endings.spend(row, ctx, kept=change is not None))
            stop_if_requested(row)
        return False

    # -- boundaries

    def commit(self, result: Result, ctx: RunCtx, *, raised_by: Step | None = None) -> bool:
        """Apply a step's result and commit its boundary. An effect whose result the schema refuses has happened."""
        try:
            target = self.target(result.goto)
            change = states.apply(self.state, self.values, result.updates)
            asked = gates.questions(result.asks, change, self.steps, ctx, self.steps[self.run.step]) if result.asks else []
            fanning.check(self.workflow, result.fan_out)
            ctx.hide(masking.secret_texts(type(change.state), change.values))
        except (states.StateInvalid, LookupError) as error:
            happened = raised_by is not None and raised_by.is_effect
            kept: dict[str, Any] = (
                {"returned": self._printable(result.updates), "happened": True, "key": self.run.key} if happened else {}
            )
            failed = failure(error, raised_by or self.steps[self.run.step])
            return endings.fail(self.run, failed, ctx, acted=bool(kept), **kept)
        if asked:
            return self.wait(asked, change, ctx)
        if result.pause is not None:
            return pausing.pause(self, result.pause, target, change, ctx)
        if result.fan_out is not None and result.fan_out.sends:
            return fanning.fan_out(self, result.fan_out, target, change, ctx)
        return self.advance(target, change, ctx)

    def advance(self, target: str, change: states.Change, ctx: RunCtx) -> bool:
        """The boundary to the next step."""
        packed = packing.pack(
            self.run.id, self.workflow.state, self.run, change, self.run.since, next_step=target, step=self.run.began_as,
            usage=ctx.used.as_json(), logs=ctx.logs(),
        )  # fmt: skip
        ctx.outcome = "done"
        boundary.commit(self.run, packed, used=ctx.used)
        self.come_to(change.state, change.values)
        return target != "end" or bool(self.run.requested)

    def target(self, goto: str | None) -> str:
        """The step that follows. Raises LookupError for one that is not there."""
        if goto is None:
            return self.workflow.after(self.run.step) or "end"
        if goto != "end" and goto not in self.steps:
            raise LookupError(f"{goto!r} is no step; known are {', '.join(self.steps)}")
        return goto

    def _printable(self, updates: Mapping[str, Any]) -> str:
        """What a step returned, for people: secrets masked."""
        shown = repr(masking.masked(self.workflow.state, updates))
        return codec.clean(masking.scrubbed(shown, self.run.secrets))

    def write_checkpoint(self, change: states.Change, ctx: RunCtx, next_step: str = packing.HERE) -> dict[str, Any]:
        """In the transaction of a boundary that is not the next step's. Returns the row's fields that hold it, if any do."""
        store.write_change(
            self.run, self.workflow.state, change, self.run.since, next_step=next_step, usage=ctx.used.as_json(),
            logs=ctx.logs(), started_at=self.run.started_at, step=self.run.began_as,
        )  # fmt: skip
        return {}

    @insist
    def _end(self) -> bool:
        """A run whose gate was its last step, or whose last step was finished before it was held."""
        with boundary.fenced(self.run) as row:
            ended = journal.Entry(Kind.ENDED, detail={"status": "succeeded"})
            moves.move(row, "succeed", ended)
        return False

    @insist
    def note(self, entry: journal.Entry) -> None:
        with boundary.fenced(self.run) as row:
            self.run.seq = moves.record(row, entry)
            if row.step_started_at is not None:  # what follows has a timeout of its own
                type(row).objects.filter(pk=row.pk).update(step_started_at=Now())
            moves.poke_on_commit(row)
