"""What a gate step, or an Ask, puts before people."""

from collections.abc import Container, Sequence
from typing import Any

from approvals.services.opening import Question
from engine.attempt import call
from engine.context import RunCtx
from workflows import Ask, Proposal, Replace, State, codec
from workflows.attempts import Failure
from workflows.state import StateInvalid, apply
from workflows.steps import Gate


def question(gate: Gate, state: State, values: dict[str, Any], ctx: RunCtx, *, forced: bool) -> Question | Failure | None:
    """The question that the gate asks; None where ``when`` says that nobody need be asked."""
    if gate.when is not None and not forced:
        needed = call(gate.when, (state, ctx), gate.timeout, gate)
        if isinstance(needed, Failure):
            return needed
        if not needed:
            return None
    proposal = call(gate.function, (state, ctx), gate.timeout, gate)
    if isinstance(proposal, Failure):
        return proposal
    if not isinstance(proposal, Proposal):
        text = f"gate {gate.name!r} returned {type(proposal).__name__}; a Proposal was expected"
        return Failure("BadReturn", text, "", retryable=False)
    try:
        shown = _shown(proposal, values)
        _check_fits(shown["action"], state, values)
        return Question(
            key=gate.name,
            policy=gate.policy.as_json(),
            verdicts=gate.verdicts,
            on_reject=gate.on_reject,
            on_respond=gate.on_respond or "",
            **shown,
        )
    except StateInvalid as error:
        return Failure("BadProposal", str(error), "", retryable=False)


def questions(asks: Sequence[Ask], values: dict[str, Any], steps: Container[str]) -> list[Question]:
    """The questions of a step's Asks, each under a key of its own. Raises StateInvalid; LookupError for where they lead."""
    taken: set[str] = set()
    found: list[Question] = []
    for number, ask in enumerate(asks, 1):
        key = ask.key or ("ask" if len(asks) == 1 else f"ask-{number}")
        if key in taken:
            raise StateInvalid({"key": f"two Asks have the key {key!r}"})
        taken.add(key)
        _check_targets(ask, key, steps)
        found.append(
            Question(
                key=key,
                policy=ask.policy.as_json(),
                verdicts=ask.verdicts,
                on_reject=ask.on_reject,
                on_respond=ask.on_respond or "",
                goto=ask.goto or "",
                merges=False,
                **_shown(ask.proposal, values),
            )
        )
    return found


def _check_targets(ask: Ask, key: str, steps: Container[str]) -> None:
    """Now, and not when somebody has decided."""
    wrong = {
        "on_reject": ask.on_reject not in ("end", "next", "roll_back") and ask.on_reject not in steps,
        "on_respond": ask.on_respond not in steps if "respond" in ask.verdicts else False,
        "goto": ask.goto not in (None, "end") and ask.goto not in steps,
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        raise LookupError(f"Ask {key!r}: {name}={getattr(ask, name)!r} is no step that it can lead to")


def _check_fits(action: dict[str, Any] | None, state: State, values: dict[str, Any]) -> None:
    """An action that the state would refuse is the author's mistake, to be found now and not by whoever approves."""
    args = (action or {}).get("args", {})
    apply(state, values, {name: Replace(value) for name, value in args.items() if name in values})


def _shown(proposal: Proposal, values: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in proposal.context if name not in values]
    if missing:
        raise StateInvalid({missing[0]: "the proposal's context names no field of the state"})
    shown = {
        "title": proposal.title,
        "summary": proposal.summary,
        "action": proposal.action_as_json(),
        "context": {name: values[name] for name in proposal.context},
    }
    try:
        codec.dumps(shown)
    except ValueError as error:
        raise StateInvalid({"proposal": str(error)}) from None
    return shown
