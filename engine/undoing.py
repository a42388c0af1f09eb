"""Rolling back: the effects that a run has had are undone one by one, the last one first, each as a durable step.

One that cannot be undone after its retries, or of which nobody can tell whether it happened, opens an undo gate.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pydantic_core
from django.db.models import F

from approvals.models import GateKind, Verdict
from approvals.services.opening import Question, open_gates
from engine import boundary, effects, endings, timelimit
from engine.attempt import call
from engine.context import RunCtx
from engine.insisting import insist
from engine.requests import stop_as_requested, stop_if_requested
from engine.services import settling
from engine.stretch import Stretch
from engine.undo_plan import Effect, make
from runs.clock import Now, database_now
from runs.models import Kind, Run
from runs.services import journal, moves
from workflows import Happened, NotHappened, Partly, Unknown, codec, masking
from workflows import state as states
from workflows.attempts import POISON, Failure
from workflows.errors import StepGone
from workflows.keys import undo_key
from workflows.policy import Policy

RESULT_SHOWN = 2000  # bytes of what a compensation returned
NOT_HAPPENED = "it had not happened"


class Undoing(Stretch):
    """The loop of a run that rolls back. Its row's step, visit and attempt are those of the compensation."""

    def go(self) -> None:
        try:
            plan = make(self.run, self.workflow)
        except StepGone as error:
            endings.hold(self.run, f"{error} Then release the run: what that step did is to be undone.")
            return
        while plan.ahead:
            if timelimit.is_stopping():
                endings.put_back(self.run)
                return
            if not self._begin(plan.ahead[-1]) or not self._undo(plan.ahead[-1]):
                return
            plan.ahead.pop()
        self._finish_undoing(plan.left)

    @insist
    def _begin(self, effect: Effect) -> bool:
        """What is about to be undone is durable before it is tried. False: the run was stopped instead."""
        pause = {**(self.run.pause or {"kind": "undo"}), "key": effect.key}
        fields: dict[str, Any] = {"step": effect.step.name, "pause": pause}
        if self.run.pause != pause:
            fields |= {"visit": self.run.visit + 1, "attempt": 1, "failures": 0, "losses": 0, "saved": None}
        with boundary.fenced(self.run) as row:
            if row.requested:
                stop_as_requested(row)
                return False
            if row.workflow_hold is not None:
                moves.move(row, "put_back_undo")
                return False
            started_at = database_now()
            changes = {**fields, "step_started_at": started_at, "boundary": F("boundary") + 1, "updated_at": Now()}
            Run.objects.filter(pk=row.pk).update(**changes)
            moves.poke_on_commit(row)
        vars(self.run).update(fields, boundary=self.run.boundary + 1, started_at=started_at, began_as=effect.step.name)
        return True

    def _undo(self, effect: Effect) -> bool:
        """Undo one effect, and say whether the run is still in this worker's hands."""
        ctx = RunCtx(self.run, key=undo_key(effect.key), effect_key=effect.key)
        if effect.branch is not None:
            ctx.given = (effect.branch.arg,)
        if self.run.losses >= POISON:
            return self._ask(effect, ctx, f"{POISON} workers were lost while it was undone")
        seen = effect.state(self.run, self.workflow)
        if effect.doubt is not None:
            found = self._look(effect, seen, ctx)
            if found is None or isinstance(found, bool):
                return bool(found)
            seen = found
        assert effect.step.compensate is not None
        own = masking.secret_texts(type(seen.state), seen.values)  # of the effect's state, which may be others than now
        self.run.secrets = masking.spellings({*self.run.secrets, *own})
        value = call(effect.step.compensate, (seen.state, ctx, *ctx.given), effect.step.timeout, effect.step)
        if isinstance(value, Failure):
            return self._failed(effect, value, ctx)
        self._undone(effect, masking.scrubbed(_shown(value), self.run.secrets), ctx)
        return True

    def _look(self, effect: Effect, seen: states.Change, ctx: RunCtx) -> states.Change | bool | None:
        """Whether an effect in doubt has happened: then with which state; True: it has not, and that is noted."""
        assert effect.doubt is not None
        if effect.doubt.happened:
            return seen
        asking = RunCtx(replace(self.run, saved=effect.doubt.saved), key=effect.key)
        asking.given = ctx.given
        in_doubt = replace(self.run, doubt_at=effect.doubt.at, doubt_reason=effect.doubt.reason)
        asked = effects.ask_verify(effect.step, seen.state, in_doubt, asking)
        if asked is None:
            endings.put_back(self.run, ctx)
            return None
        verified = journal.Entry(
            Kind.VERIFIED, effect.step.name, self.run.attempt, "", asked.as_json(effect.key, self.run.visit)
        )
        self.note(verified)
        if isinstance(asked.answer, Unknown):
            return self._ask(effect, ctx, f"nobody can tell whether it happened: {asked.reason}")
        if asked.wait and not isinstance(asked.answer, Happened):
            return endings.put_back(self.run, ctx, after=asked.wait)
        if isinstance(asked.answer, NotHappened):
            self._undone(effect, NOT_HAPPENED, ctx)
            return True
        assert isinstance(asked.answer, (Happened, Partly))
        try:
            return states.apply(seen.state, seen.values, asked.answer.updates)
        except states.StateInvalid:  # it has happened all the same
            return seen

    @insist
    def _undone(self, effect: Effect, result: Any, ctx: RunCtx) -> None:
        detail = {**_known(effect), "key": ctx.idempotency_key, "result": result, **({"logs": ctx.lines} if ctx.lines else {})}
        entry = journal.Entry(Kind.COMPENSATED, effect.step.name, self.run.attempt, "", detail, self.run.started_at)
        ctx.outcome = "done"
        with boundary.fenced(self.run) as row:
            moves.record(row, entry)
            fields = {"step_started_at": None, "boundary": F("boundary") + 1, **endings.spend(row, ctx)}
            Run.objects.filter(pk=row.pk).update(**fields)
            moves.poke_on_commit(row)
        self.run.boundary += 1

    def _failed(self, effect: Effect, failed: Failure, ctx: RunCtx) -> bool:
        failed = endings.scrubbed(self.run, failed)
        if failed.cut:
            return endings.put_back(self.run, ctx)
        retry = effect.step.retry
        if failed.type != "Permanent" and self.run.failures + 1 < retry.attempts:
            self._try_again(effect, failed, ctx, max(retry.delay(self.run.failures + 1), failed.retry_after or 0.0))
            return False
        return self._ask(effect, ctx, f"{failed.type}: {failed.message}", failed)

    @insist
    def _try_again(self, effect: Effect, failed: Failure, ctx: RunCtx, delay: float) -> None:
        with boundary.fenced(self.run) as row:
            entry = self._failure(effect, failed, ctx, {"retry_in": round(delay, 3), "of": effect.step.retry.attempts})
            at = database_now() + timedelta(seconds=delay)
            fields = {"attempt": row.attempt + 1, "failures": row.failures + 1, "available_at": at}
            moves.move(row, "put_back_undo", entry, **fields, **endings.spend(row, ctx))
            stop_if_requested(row)

    def _failure(self, effect: Effect, failed: Failure, ctx: RunCtx, more: dict[str, Any]) -> journal.Entry:
        detail = {**endings.failure_detail(failed, ctx), **_known(effect), "undoing": True, **more}
        return journal.Entry(Kind.ATTEMPT_FAILED, effect.step.name, self.run.attempt, "", detail, self.run.started_at)

    @insist
    def _ask(self, effect: Effect, ctx: RunCtx, why: str, failed: Failure | None = None) -> bool:
        """An undo gate: a person has it tried again, does it by hand, or ends the run."""
        with boundary.fenced(self.run) as row:
            if failed is not None:
                moves.record(row, self._failure(effect, failed, ctx, {}))
            open_gates(row, [self._question(effect, ctx, why)])
            moves.move(row, "wait", **endings.spend(row, ctx))
            stop_if_requested(row)
        return False

    def _question(self, effect: Effect, ctx: RunCtx, why: str) -> Question:
        seen = effect.state(self.run, self.workflow)
        return Question(
            key=f"{effect.step.name}:undo",
            kind=GateKind.UNDO,
            title=f"Undoing “{effect.step.name}” did not succeed",
            context={
                "why": why,
                "tries": self.run.attempt,
                "key": ctx.idempotency_key,
                "given": masking.masked(self.workflow.state, seen.values),
                **({"arg": effect.branch.arg} if effect.branch else {}),
                **_known(effect),
            },
            policy={**Policy(approvers=["role:operator", "role:admin"], on_timeout="keep").as_json()},
            verdicts=[Verdict.RETRY, Verdict.DONE_BY_HAND, Verdict.FAIL],
            merges=False,
        )

    @insist
    def _finish_undoing(self, left: list[str]) -> None:
        with boundary.fenced(self.run) as row:
            if row.requested:
                stop_as_requested(row)
                return
            settling.tell_rest(row)
            undone = row.events.filter(kind=Kind.COMPENSATED).count()
            detail = {"status": "rolled_back", "undone": undone, "left": left}
            moves.move(row, "finish_undoing", journal.Entry(Kind.ENDED, detail=detail), pause=None, saved=None)


def _known(effect: Effect) -> dict[str, Any]:
    """What names the effect in the journal and at its gate."""
    known = {"effect": effect.step.name, "effect_key": effect.key, "effect_seq": effect.seq}
    return {**known, "branch": effect.branch.index} if effect.branch else known


def _shown(value: Any) -> Any:
    """What a compensation returned, as the journal keeps it: JSON, or a text where it is none or long."""
    try:
        plain = pydantic_core.to_jsonable_python(value)
        if len(codec.dumps(plain)) <= RESULT_SHOWN:
            return plain
    except ValueError:
        pass
    return codec.clean(repr(value))[:RESULT_SHOWN]
