"""The step loop of a played run."""

import asyncio
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from workflows import codec
from workflows import state as states
from workflows.answers import Ask, Happened, NotHappened, Partly, Unknown
from workflows.attempts import POISON, Failure, Result, failure, run_step
from workflows.context import Branch, Ctx, Decision, checked_level, checked_saved, checked_usage
from workflows.definition import Workflow
from workflows.keys import visit_key
from workflows.state import Replace, State, StateInvalid
from workflows.steps import Gate, Step, takes
from workflows.testing import parts
from workflows.testing.parts import Signals
from workflows.testing.script import Answer, Decide, Fail, Fault, Played, WorkerLost

S = TypeVar("S", bound=State)
LOOKS = 5  # of an effect with confirm, until it is given up


class _Context(Ctx):
    """A step's ``ctx`` in a played run."""

    effect_key: str | None = None

    def __init__(self, run: "Player[Any]") -> None:
        self.run = run
        self.run_id, self.step, self.attempt, self.saved = str(run.id), run.step, run.attempt, run.saved
        self.idempotency_key = visit_key(run.id, run.step, run.visit, run.part)
        self.decision, self.decisions = run.last_decision, run.played.decisions
        self.signal, self.branches, self.given = run.signal, run.branches, run.given

    def progress(self, fraction: float, message: str = "") -> None:
        """Nobody watches."""

    def stream(self, text: str) -> None:
        """Nobody watches."""

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        checked_level(level)
        codec.dumps(fields)
        self.run.played.logs.append(message)

    def usage(self, *, model: str = "", input_tokens: int = 0, output_tokens: int = 0, cost_usd: float | str = 0) -> None:
        self.run.played.cost_usd += float(checked_usage(input_tokens, output_tokens, cost_usd)[2])

    def save(self, value: Any) -> None:
        self.run.saved = self.saved = codec.loads(checked_saved(value))


class Player(Generic[S]):
    """One played run; the methods mirror the engine's step loop (engine/stretch.py), without its writes."""

    part = ""  # of a branch: its name in idempotency keys
    given: tuple[Any, ...] = ()

    def __init__(
        self, workflow: Workflow[S], input: Mapping[str, Any], decide: Decide, fail: Fail, signals: Signals
    ) -> None:  # fmt: skip
        self.workflow, self.id, self.known = workflow, uuid.uuid4(), workflow.steps
        self.signals = {name: list(payloads) for name, payloads in signals.items()}
        self.effects: dict[str, parts.Done] = {}
        self.answers = {key: [found] if isinstance(found, Answer) else list(found) for key, found in decide.items()}
        self.faults = {step: list(found) for step, found in fail.items()}
        self.state: S = workflow.state.parse(input)
        self.values = states.plain(self.state)
        self.played: Played[S] = Played("running", self.state)
        self.approved: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self.begin(workflow.first())

    def begin(self, step: str) -> None:
        self.visit, self.forced, self.is_stuck = 0, "", False
        self.last_decision: Decision | None = None
        self.next_decision: Decision | None = None
        self.next_signal: Any = None
        self.next_branches: Sequence[Branch] = ()
        self.come_to(step)

    def go(self) -> Played[S]:
        while self.played.status == "running" and not self.is_stuck:
            if self.step == "end":
                self.played.status = "succeeded"
            elif self.is_over_limit():
                self.played.status = "held" if self.workflow.on_limit == "hold" else "failed"
            else:
                self.one_step(self.known[self.step])
        self.played.state = self.state
        return self.played

    def is_over_limit(self) -> bool:
        most = self.workflow.max_cost_usd
        return self.visit > self.workflow.max_steps or (most is not None and self.played.cost_usd >= most)

    def come_to(self, step: str) -> None:
        """A new visit."""
        self.step, self.visit, self.attempt, self.failures, self.losses = step, self.visit + 1, 1, 0, 0
        self.doubt, self.saved = False, None
        self.last_decision, self.next_decision = self.next_decision, None
        self.signal, self.next_signal = self.next_signal, None
        self.branches, self.next_branches = self.next_branches, ()

    def context(self) -> _Context:
        return _Context(self)

    def one_step(self, step: Step) -> None:
        ctx = _Context(self)
        if isinstance(step, Gate):
            return self.gate(step, ctx)
        if (step.is_effect and self.doubt) or (step.check_first and self.attempt == 1):
            return self.settle(step, ctx)
        return self.try_step(step, ctx)

    def try_step(self, step: Step, ctx: _Context) -> None:
        if step.approved_by is not None and not self.is_approved(step.approved_by, ctx):
            self.forced = step.approved_by
            return self.come_to(step.approved_by)
        self.played.attempts.append((step.name, self.attempt))
        outcome = run_step(step, self.state, ctx, lambda function, args: self.call(step, function, args))
        if isinstance(outcome, Failure):
            return self.failed(step, outcome)
        if step.confirm and not any(isinstance(self.verify(step, ctx), Happened) for _ in range(LOOKS)):
            return self.failed(step, Failure("Unconfirmed", "verify did not see it", "", retryable=True))
        return self.commit(outcome, step)

    def call(self, step: Step, function: Callable[..., Any], args: tuple[Any, ...], *, faulty: bool = True) -> Any:
        waiting = self.faults.get(step.name, [])
        fault = waiting.pop(0) if faulty and waiting else None
        fault = Fault(fault) if isinstance(fault, Exception) else fault
        try:
            if fault is not None and not fault.acts:
                raise fault.error
            value = function(*args[: takes(function, len(args))])
            if inspect.isawaitable(value):
                value = asyncio.run(_await(value))
            if fault is not None:
                raise fault.error
            return value
        except Exception as error:
            return failure(error, step)

    def failed(self, step: Step, failed: Failure) -> None:
        self.doubt = step.is_effect and not failed.certain
        if failed.type == WorkerLost.__name__:
            self.attempt, self.losses = self.attempt + 1, self.losses + 1
            if self.losses == POISON:
                self.end("failed", Failure("Poison", f"{POISON} workers were lost in this step", "", retryable=False))
        elif not self.doubt and (not failed.retryable or self.failures + 1 >= step.retry.attempts):
            self.end("failed", failed)
        else:
            self.failures = self.failures + 1 if failed.retryable else max(self.failures + 1, step.retry.attempts)
            self.attempt += 1

    def settle(self, step: Step, ctx: _Context) -> None:
        answer = self.verify(step, ctx)
        may_try = isinstance(answer, (NotHappened, Partly)) or step.on_unknown == "retry"
        if isinstance(answer, Happened):
            self.commit(Result(answer.updates), step)
        elif may_try and self.failures >= step.retry.attempts:
            self.end("failed", Failure("AttemptsUsedUp", "no attempt is left", "", retryable=False))
        elif isinstance(answer, Partly):
            self.doubt, self.attempt = False, self.attempt + 1
            if self.apply(answer.updates, step):
                self.happened(step)
        elif may_try:
            self.try_step(step, ctx)
        elif step.on_unknown == "fail":
            self.end("failed", Failure("OutcomeUnknown", "nobody can tell whether it happened", "", retryable=False))
        else:
            self.ask_outcome(step)

    def verify(self, step: Step, ctx: _Context) -> Any:
        value: Any = Unknown("the effect has no verify")
        if step.verify is not None:
            value = self.call(step, step.verify, (self.state, ctx, *self.given), faulty=False)
        if not isinstance(value, (Happened, NotHappened, Partly, Unknown)):
            value = Unknown(f"verify gave {value!r}")
        self.played.verified.append((step.name, type(value).__name__))
        return value

    def ask_outcome(self, step: Step) -> None:
        answer = self.answer(f"{step.name}:outcome", f"Did “{step.name}” happen?")
        if answer is None:
            return
        if answer.verdict == "happened":
            self.commit(Result(answer.args or {}), step)
        elif answer.verdict == "not_happened":
            self.doubt, self.attempt, self.failures, self.losses = False, self.attempt + 1, 0, 0
        else:
            self.end("failed", Failure("GateFailed", answer.comment, "", retryable=False))

    # -- gates

    def gate(self, gate: Gate, ctx: _Context) -> None:
        forced, self.forced = self.forced == gate.name, ""
        needed = forced or gate.when is None or self.call(gate, gate.when, (self.state, ctx), faulty=False)
        if isinstance(needed, Failure):
            return self.failed(gate, needed)
        if not needed:
            return self.commit(Result(), gate)
        proposal = self.call(gate, gate.function, (self.state, ctx))
        return self.failed(gate, proposal) if isinstance(proposal, Failure) else self.ask(gate, proposal, ctx)

    def ask(self, gate: Gate, proposal: Any, ctx: _Context) -> None:
        """Put the proposal before the script's people, and do what they answer."""
        missing = [name for name in proposal.context if name not in self.values]
        if missing:
            text = f"{missing[0]}: the proposal's context names no field of the state"
            return self.failed(gate, Failure("BadProposal", text, "", retryable=False))
        answer = self.answer(gate.name, proposal)
        if answer is None:
            return None
        args = {**((proposal.action_as_json() or {}).get("args", {})), **(answer.args or {})}
        self.decided(gate.name, answer, args if proposal.action is not None else None)
        if answer.verdict not in gate.verdicts:
            raise ValueError(f"gate {gate.name!r} allows {', '.join(gate.verdicts)}, not {answer.verdict!r}")
        self.approved[gate.name] = (answer.verdict, args)
        if answer.verdict == "reject" and gate.on_reject in ("end", "roll_back"):
            return self.reject(gate.on_reject)
        merged = {}
        if answer.verdict in ("approve", "edit"):
            merged = {name: Replace(value) for name, value in args.items() if name in self.values}
        if merged and gate.revalidate is not None:
            seen = states.apply(self.state, self.values, merged).state
            again = self.call(gate, gate.revalidate, (seen, ctx), faulty=False)
            if isinstance(again, Failure):
                return self.failed(gate, again)
            if again is not None and _differs(again, proposal, args, edited=answer.verdict == "edit"):
                return self.ask(gate, again, ctx)
        if self.apply(merged, gate):
            self.leave({"reject": gate.on_reject, "respond": gate.on_respond}.get(answer.verdict) or "next", gate)
        return None

    def asks(self, asks: tuple[Ask, ...], step: Step) -> None:
        keys = [ask.key or ("ask" if len(asks) == 1 else f"ask-{number}") for number, ask in enumerate(asks, 1)]
        rejected: Ask | None = None
        responded: Ask | None = None
        for key, ask in zip(keys, asks, strict=True):
            answer = self.answer(key, ask.proposal)
            if answer is None:
                return
            self.decided(key, answer, (ask.proposal.action_as_json() or {}).get("args"))
            rejected = ask if answer.verdict == "reject" and rejected is None else rejected
            responded = ask if answer.verdict == "respond" and responded is None else responded
        if rejected is not None and rejected.on_reject in ("end", "roll_back"):
            self.reject(rejected.on_reject)
        elif rejected is not None and rejected.on_reject != "next":
            self.leave(rejected.on_reject, step)
        elif responded is not None:
            self.leave(responded.on_respond or "next", step)
        else:
            self.leave(asks[0].goto or "next", step)

    def reject(self, target: str) -> None:
        self.played.status = "rejected"
        if target == "roll_back":
            parts.roll_back(self)

    def answer(self, key: str, asked: Any) -> Answer | None:
        """The next scripted answer of a gate; None: nobody answers, and the run waits."""
        self.played.asked[key] = asked
        waiting = self.answers.get(key, [])
        if waiting:
            return waiting.pop(0)
        self.played.waiting.append(key)
        self.played.status = "waiting"
        return None

    def decided(self, key: str, answer: Answer, action: Mapping[str, Any] | None) -> None:
        self.next_decision = Decision(answer.verdict, answer.by, answer.comment, action, datetime.now(UTC))
        self.played.decisions[key] = self.next_decision

    def is_approved(self, name: str, ctx: _Context) -> bool:
        gate = self.workflow.steps[name]
        assert isinstance(gate, Gate)
        if name not in self.approved:
            needed = True if gate.when is None else self.call(gate, gate.when, (self.state, ctx), faulty=False)
            return not isinstance(needed, Failure) and not needed
        verdict, args = self.approved[name]
        return verdict in ("approve", "edit") and states.agrees(type(self.state), args, self.values)

    # -- boundaries

    def commit(self, result: Result, step: Step) -> None:
        if result.goto not in (None, "end", *self.known):
            return self.end("failed", Failure("LookupError", f"{result.goto!r} is no step", "", retryable=False))
        if not self.apply(result.updates, step):
            return None
        self.happened(step)
        if result.asks:
            return self.asks(result.asks, step)
        if result.pause is not None:
            return parts.pause(self, result.pause, step)
        if result.fan_out is not None and result.fan_out.sends:
            return parts.fan_out(self, result.fan_out, step)
        return self.leave(result.goto or "next", step)

    def leave(self, target: str, step: Step) -> None:
        self.come_to(self.workflow.after(step.name) or "end" if target == "next" else target)

    def happened(self, step: Step) -> None:
        if step.is_effect:
            key = self.context().idempotency_key
            self.effects.pop(key, None)  # a part of it; all of it happened later
            self.effects[key] = parts.Done(step, key, self.state, self.given)

    def apply(self, updates: Mapping[str, Any], step: Step) -> bool:
        try:
            change = states.apply(self.state, self.values, updates)
        except StateInvalid as error:
            self.end("failed", failure(error, step))
            return False
        self.state, self.values = change.state, change.values  # type: ignore[assignment] # apply keeps the class
        self.played.steps.append(step.name)
        return True

    def end(self, status: str, failed: Failure) -> None:
        rolling, self.played.status, self.played.error = self.played.status, status, replace(failed, traceback="")
        if self.workflow.on_failure == "roll_back" and rolling != "rolling_back" and not self.part:
            parts.roll_back(self)


async def _await(value: Any) -> Any:
    return await value


def _differs(again: Any, proposal: Any, args: dict[str, Any], *, edited: bool) -> bool:
    """Whether the fresh proposal is not what was approved. After an edit its words tell of the original, and do not count."""
    words = not edited and (again.title, again.summary) != (proposal.title, proposal.summary)
    return words or ((again.action_as_json() or {}).get("args", {}) != args)
