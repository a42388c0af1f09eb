"""What a gate step, or an Ask, puts before people."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from approvals.services.opening import Question
from engine.attempt import call
from engine.context import RunCtx
from workflows import Ask, Proposal, Replace, State, codec, masking
from workflows.attempts import Failure
from workflows.policy import Policy
from workflows.state import Change, StateInvalid, apply
from workflows.steps import Gate, Step


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
    policy = resolved(gate.policy, state, ctx, gate)
    return policy if isinstance(policy, Failure) else asked(gate, proposal, policy.as_json(), state, values, ctx)


def resolved(policy: Policy, state: State, ctx: RunCtx, step: Step) -> Policy | Failure:
    """The policy with its approvers, which may be a function of the state."""
    if not callable(policy.approvers):
        return policy
    named = call(policy.approvers, (state, ctx), step.timeout, step)
    if isinstance(named, Failure):
        return named
    try:
        return policy.resolved(named)
    except ValueError as error:
        return Failure("BadPolicy", str(error), "", retryable=False)


def asked(
    gate: Gate, proposal: Any, policy: Mapping[str, Any], state: State, values: dict[str, Any], ctx: RunCtx
) -> Question | Failure:  # fmt: skip
    """The question that this proposal puts at the gate."""
    if not isinstance(proposal, Proposal):
        text = f"gate {gate.name!r} returned {type(proposal).__name__}; a Proposal was expected"
        return Failure("BadReturn", text, "", retryable=False)
    try:
        shown = _shown(proposal, values, type(state), ctx.secrets)
        _check_fits(shown["action"], state, values)
        return Question(
            key=gate.name,
            policy=policy,
            verdicts=gate.verdicts,
            on_reject=gate.on_reject,
            on_respond=gate.on_respond or "",
            **shown,
        )
    except StateInvalid as error:
        return Failure("BadProposal", str(error), "", retryable=False)


def questions(asks: Sequence[Ask], change: Change, steps: Container[str], ctx: RunCtx, step: Step) -> list[Question]:
    """The questions of a step's Asks, each under a key of its own. Raises StateInvalid; LookupError for where they lead."""
    kind, secrets = type(change.state), masking.secret_texts(type(change.state), change.values)
    taken: set[str] = set()
    found: list[Question] = []
    for number, ask in enumerate(asks, 1):
        key = ask.key or ("ask" if len(asks) == 1 else f"ask-{number}")
        if key in taken:
            raise StateInvalid({"key": f"two Asks have the key {key!r}"})
        taken.add(key)
        _check_targets(ask, key, steps)
        policy = resolved(ask.policy, change.state, ctx, step)
        if isinstance(policy, Failure):
            raise StateInvalid({f"policy of Ask {key!r}": f"{policy.type}: {policy.message}"})
        found.append(
            Question(
                key=key,
                policy=policy.as_json(),
                verdicts=ask.verdicts,
                on_reject=ask.on_reject,
                on_respond=ask.on_respond or "",
                goto=ask.goto or "",
                merges=False,
                **_shown(ask.proposal, change.values, kind, secrets),
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


def _shown(proposal: Proposal, values: dict[str, Any], kind: type[State], secrets: tuple[str, ...]) -> dict[str, Any]:
    """What people are shown, and what is stored of it: without secrets."""
    missing = [name for name in proposal.context if name not in values]
    if missing:
        raise StateInvalid({missing[0]: "the proposal's context names no field of the state"})
    action = proposal.action_as_json()
    args = (action or {}).get("args", {})
    named = sorted(masking.secret_fields(kind) & set(args)) or ["action"]
    if named != ["action"] or masking.holds_secret(action, secrets):
        raise StateInvalid({named[0]: "an action's arguments are shown to people, and cannot hold a secret"})
    context = masking.masked(kind, {name: values[name] for name in proposal.context})
    shown = {
        "title": masking.scrubbed(proposal.title, secrets),
        "summary": masking.scrubbed(proposal.summary, secrets),
        "action": action,
        "context": masking.scrubbed(context, secrets),
    }
    try:
        codec.dumps(shown)
    except ValueError as error:
        raise StateInvalid({"proposal": str(error)}) from None
    return shown
