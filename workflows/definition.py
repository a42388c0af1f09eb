"""A workflow: its state schema and its steps, defined by decorators."""

import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

from workflows import registry
from workflows.actions import Proposal
from workflows.answers import Ask, End, FanOut, Goto, Happened, NotHappened, Partly, Send, Sleep, Unknown, Wait
from workflows.context import Ctx
from workflows.durations import Duration, seconds
from workflows.errors import RegistrationError, StepGone
from workflows.policy import Policy
from workflows.retry import Retry
from workflows.state import State
from workflows.steps import EFFECT_OPTIONS, Gate, Step, build

Function = TypeVar("Function", bound=Callable[..., Any])
S = TypeVar("S", bound=State)
Returned = Mapping[str, Any] | Goto | End | Ask | list[Ask] | Sleep | Wait | FanOut | list[Send] | None
R = TypeVar("R", bound=Returned | Awaitable[Returned])
Proposed = TypeVar("Proposed", bound=Proposal | Awaitable[Proposal])
Verified = Happened | NotHappened | Partly | Unknown | Awaitable[Happened | NotHappened | Partly | Unknown]
RESERVED = ("end", "next", "roll_back")


class StepDecorator(Protocol[S]):
    """Takes a function of the workflow's state and gives it back as it is."""

    @overload
    def __call__(self, function: Callable[[S], R], /) -> Callable[[S], R]: ...
    @overload
    def __call__(self, function: Callable[[S, Ctx], R], /) -> Callable[[S, Ctx], R]: ...


class BranchDecorator(Protocol[S]):
    """The same for a function that is also given its branch's arg."""

    @overload
    def __call__(self, function: Callable[[S], R], /) -> Callable[[S], R]: ...
    @overload
    def __call__(self, function: Callable[[S, Ctx], R], /) -> Callable[[S, Ctx], R]: ...
    @overload
    def __call__(self, function: Callable[[S, Ctx, Any], R], /) -> Callable[[S, Ctx, Any], R]: ...


class GateDecorator(Protocol[S]):
    """The same for a function that returns a Proposal."""

    @overload
    def __call__(self, function: Callable[[S], Proposed], /) -> Callable[[S], Proposed]: ...
    @overload
    def __call__(self, function: Callable[[S, Ctx], Proposed], /) -> Callable[[S, Ctx], Proposed]: ...


class Workflow(Generic[S]):
    """A named, versioned definition. Creating one registers it; steps run in the order of definition."""

    def __init__(
        self,
        name: str,
        *,
        state: type[S],
        version: str,
        output: type[Any] | None = None,
        retention: Duration | None = None,
        expires: Duration | None = None,
        max_steps: int = 10_000,
        max_cost_usd: float | None = None,
        on_limit: str = "hold",
        on_failure: str = "stop",
        deadline: Duration | None = None,
    ) -> None:
        self.where = _caller()
        self.name, self.state, self.version, self.output = name, state, str(version), output
        self.max_steps, self.max_cost_usd, self.on_limit, self.on_failure = (
            max_steps,
            max_cost_usd,
            on_limit,
            on_failure,
        )
        try:
            self.retention, self.expires, self.deadline = (
                None if value is None else seconds(value) for value in (retention, expires, deadline)
            )
        except ValueError as error:
            raise self.error("", str(error)) from None
        self.steps: dict[str, Step] = {}  # in order
        self.branches: dict[str, Step] = {}  # reached by Send alone
        self._check()
        registry.register(self)

    @overload
    def step(self, function: Callable[[S], R], /) -> Callable[[S], R]: ...
    @overload
    def step(self, function: Callable[[S, Ctx], R], /) -> Callable[[S, Ctx], R]: ...
    @overload
    def step(
        self,
        *,
        name: str | None = None,
        retry: Retry = ...,
        timeout: Duration = ...,
        then: Sequence[str] = ...,
        needs: Sequence[str] | None = ...,
        was: Sequence[str] = ...,
    ) -> StepDecorator[S]: ...
    def step(self, function: Any = None, /, **options: Any) -> Any:  # type: ignore[misc] # checked by build
        """Define a step: ``(state)`` or ``(state, ctx)``, plain or async, returning updates or what comes next."""
        return self._decorated(Step, function, options)

    @overload
    def effect(self, function: Callable[[S], R], /) -> Callable[[S], R]: ...
    @overload
    def effect(self, function: Callable[[S, Ctx], R], /) -> Callable[[S, Ctx], R]: ...
    @overload
    def effect(
        self,
        *,
        name: str | None = None,
        verify: Callable[[S, Ctx], Verified] | Callable[[S], Verified] | None = None,
        confirm: bool = False,
        check_first: bool = False,
        settle: Duration = ...,
        on_unknown: Literal["ask", "retry", "fail"] = "ask",
        compensate: Callable[[S, Ctx], Any] | Callable[[S], Any] | None = None,
        approved_by: str | None = None,
        retry: Retry = ...,
        timeout: Duration = ...,
        then: Sequence[str] = ...,
        needs: Sequence[str] | None = ...,
        was: Sequence[str] = ...,
    ) -> StepDecorator[S]: ...
    def effect(self, function: Any = None, /, **options: Any) -> Any:  # type: ignore[misc] # checked by build
        """Define a step that changes the world outside, so that it is verified before it is ever tried again."""
        return self._decorated(Step, function, {**options, "is_effect": True})

    @overload
    def branch(self, function: Callable[[S, Ctx, Any], R], /) -> Callable[[S, Ctx, Any], R]: ...
    @overload
    def branch(
        self,
        *,
        name: str | None = None,
        effect: bool = False,
        verify: Callable[..., Verified] | None = None,
        confirm: bool = False,
        check_first: bool = False,
        settle: Duration = ...,
        on_unknown: Literal["ask", "retry", "fail"] = "ask",
        compensate: Callable[..., Any] | None = None,
        approved_by: str | None = None,
        retry: Retry = ...,
        timeout: Duration = ...,
        then: Sequence[str] = ...,
        needs: Sequence[str] | None = ...,
        was: Sequence[str] = ...,
    ) -> BranchDecorator[S]: ...
    def branch(self, function: Any = None, /, **options: Any) -> Any:  # type: ignore[misc] # checked by build
        """Define a step that only ``Send`` and ``FanOut`` reach: ``(state, ctx, arg)``, once for each of its args.

        With ``effect=True``, or any option of an effect, it is one.
        """
        acts = options.pop("effect", False) or not EFFECT_OPTIONS.isdisjoint(options)
        return self._decorated(Step, function, {**options, "is_branch": True, "is_effect": bool(acts)})

    @overload
    def gate(self, function: Callable[[S], Proposed], /) -> Callable[[S], Proposed]: ...
    @overload
    def gate(self, function: Callable[[S, Ctx], Proposed], /) -> Callable[[S, Ctx], Proposed]: ...
    @overload
    def gate(
        self,
        *,
        name: str | None = None,
        when: Callable[[S], bool] | Callable[[S, Ctx], bool] | None = None,
        policy: Policy = ...,
        verdicts: Sequence[str] = ...,
        on_reject: str = "end",
        on_respond: str | None = None,
        revalidate: Callable[[S, Ctx], Proposal | None] | Callable[[S], Proposal | None] | None = None,
        retry: Retry = ...,
        timeout: Duration = ...,
        was: Sequence[str] = ...,
    ) -> GateDecorator[S]: ...
    def gate(self, function: Any = None, /, **options: Any) -> Any:  # type: ignore[misc] # checked by build
        """Define a point where the run waits for people; the function returns the Proposal that they see."""
        return self._decorated(Gate, function, options)

    @property
    def all_steps(self) -> dict[str, Step]:
        """Steps and branches, by name."""
        return {**self.steps, **self.branches}

    def first(self) -> str:
        return next(iter(self.steps))

    def after(self, name: str) -> str | None:
        """The step that follows ``name`` in the order of definition, or None at the end. Raises StepGone."""
        names = list(self.steps)
        index = names.index(self.current_name(name)) + 1
        return names[index] if index < len(names) else None

    def current_name(self, name: str) -> str:
        """The name that the step once called ``name`` has in this version. Raises StepGone with the remedy."""
        known = self.all_steps
        if name in known:
            return name
        for step in known.values():
            if name in step.was:
                return step.name
        raise StepGone(
            f"Step {name!r} is gone from {self.name} {self.version}. "
            f'Name it in was=["{name}"] of the step that replaces it, and deploy.'
        )

    def find(self, name: str) -> Step:
        """The step or branch of that name, now or once. Raises StepGone with the remedy."""
        name = self.current_name(name)
        return self.steps[name] if name in self.steps else self.branches[name]

    def is_effect(self, name: str) -> bool:
        """Whether the step of that name, now or once, acts outside; ``end`` does not. Raises StepGone."""
        return name != "end" and self.find(name).is_effect

    def finish(self) -> None:
        """Check what can be checked only once all steps are known. Raises RegistrationError."""
        if not self.steps:
            raise self.error("", "it has no steps; define at least one with @workflow.step")
        for step in self.all_steps.values():
            for target in step.targets():
                self._check_target(step, target)
            for name in step.needs or ():
                if name not in self.state.model_fields:
                    raise self.error(step.name, f"needs={name!r} is no field of {self.state.__name__}")
            for name in step.policy.distinct_from if isinstance(step, Gate) else ():
                if not isinstance(self.steps.get(name), Gate):
                    raise self.error(step.name, f"distinct_from={name!r} is no gate of this workflow")
            if step.approved_by is not None and not isinstance(self.steps.get(step.approved_by), Gate):
                raise self.error(step.name, f"approved_by={step.approved_by!r} is no gate of this workflow")

    def graph(self) -> dict[str, Any]:
        """Nodes and edges for drawing: ``{"nodes": [{name, kind}], "edges": [{from, to, label}]}``."""
        edges: list[dict[str, str]] = []
        for step in self.steps.values():
            parts = [target for target in step.then if target in self.branches]
            join = self.after(step.name) or "end"
            following = [target for target in step.then if target not in parts] or [join]
            edges += [{"from": step.name, "to": target, "label": ""} for target in following]
            edges += [{"from": step.name, "to": target, "label": "each"} for target in parts]
            edges += [{"from": target, "to": join, "label": "join"} for target in self._ends_of(parts)]
            if isinstance(step, Gate):
                edges.append({"from": step.name, "to": step.on_reject, "label": "reject"})
                if step.on_respond:
                    edges.append({"from": step.name, "to": step.on_respond, "label": "respond"})
        for step in self.branches.values():
            edges += [{"from": step.name, "to": target, "label": ""} for target in step.then]
        nodes = [{"name": step.name, "kind": step.kind} for step in self.reading_order()]
        return {"nodes": nodes, "edges": edges}

    def reading_order(self) -> list[Step]:
        """The steps in order, each followed by the branches that it sends to."""
        ahead, found = [*self.steps, *self.branches], list[str]()
        while ahead:
            here = ahead.pop(0)
            if here not in found:
                found.append(here)
                step = self.steps.get(here) or self.branches[here]
                ahead = [target for target in step.then if target in self.branches] + ahead
        return [self.steps.get(name) or self.branches[name] for name in found]

    def _ends_of(self, parts: Sequence[str]) -> list[str]:
        """The branch steps at which a fan-out to ``parts`` can end: those that lead to no other."""
        reached, ahead = list[str](), list(parts)
        while ahead:
            here = ahead.pop(0)
            if here not in reached:
                reached.append(here)
                ahead += self.branches[here].then
        return [name for name in reached if not self.branches[name].then]

    def error(self, step: str, text: str) -> RegistrationError:
        place = f"step {step!r} of workflow {self.name!r}" if step else f"workflow {self.name!r}"
        known = self.steps.get(step) or self.branches.get(step)
        where = known.where if known else self.where
        return RegistrationError(f"{where}: {place}: {text}")

    def _decorated(self, kind: type[Step], function: Any, options: dict[str, Any]) -> Any:
        if function is not None:
            self._add(kind, function, options)
            return function

        def decorate(inner: Function) -> Function:
            self._add(kind, inner, options)
            return inner

        return decorate

    def _add(self, kind: type[Step], function: Callable[..., Any], options: dict[str, Any]) -> None:
        options = dict(options)
        name = options.pop("name", None) or function.__name__
        where = _place(function)
        try:
            step = build(kind, name, function, where, options)
        except (TypeError, ValueError) as error:
            raise RegistrationError(f"{where}: step {name!r} of workflow {self.name!r}: {error}") from None
        if (known := self.steps.get(name) or self.branches.get(name)) is not None:
            raise RegistrationError(
                f"{where}: step {name!r} of workflow {self.name!r} is defined twice "
                f"(first in {known.where}); rename one, or give it name=…"
            )
        if name in RESERVED:
            raise RegistrationError(f"{where}: {name!r} is a reserved name; rename the step, or give it name=…")
        (self.branches if step.is_branch else self.steps)[name] = step

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.replace("-", "_").isidentifier():
            raise self.error("", "its name must be a word of letters, digits, - and _")
        if not (isinstance(self.state, type) and issubclass(self.state, State)):
            raise self.error("", f"state={self.state!r}: a subclass of workflows.State was expected")
        if self.on_limit not in ("hold", "fail"):
            raise self.error("", f"on_limit={self.on_limit!r}: 'hold' or 'fail' was expected")
        if self.on_failure not in ("stop", "roll_back"):
            raise self.error("", f"on_failure={self.on_failure!r}: 'stop' or 'roll_back' was expected")
        if self.deadline == 0:
            raise self.error("", "deadline=0 would end every run at once")
        if self.expires == 0:
            raise self.error("", "expires=0 would end every run at once")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise self.error("", f"max_steps={self.max_steps!r}: a whole number from 1 was expected")

    def _check_target(self, step: Step, target: str) -> None:
        if step.is_branch and target not in self.branches:
            known = ", ".join(self.branches)
            raise self.error(step.name, f"it leads to {target!r}, which is no branch step; known are {known}")
        rejected = ("next", "roll_back") if isinstance(step, Gate) else ()
        if not step.is_branch and target not in (*self.steps, *self.branches, "end", *rejected):
            raise self.error(step.name, f"it leads to {target!r}, which is no step; known are {', '.join(self.steps)}")


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else repr(function)


def _caller() -> str:
    frame = sys._getframe(2)  # inspect.stack() would read the source of every frame, 40 ms a workflow
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
