"""The one function that decides a gate. Every door (page, API, timeout) goes through it."""

import uuid
from collections.abc import Mapping
from typing import Any

import jsonschema
from django.db import transaction

from approvals.models import Decision, Gate, GateStatus, Verdict
from approvals.refusals import AlreadyVoted, GateChanged, GateClosed, InvalidDecision, NotYours
from approvals.services import outcome
from approvals.services.opening import rehash
from runs.models import Kind, Run
from runs.services import journal, moves
from runs.words import VERDICTS
from workflows import masking, registry

COMMENT_LIMIT = 10_000  # characters


@transaction.atomic
def decide(
    gate_id: uuid.UUID,
    *,
    by: Any,
    verdict: str,
    version: int | None,
    proposal_hash: str | None,
    args: Mapping[str, Any] | None = None,
    comment: str = "",
    channel: str,
) -> Decision:
    """Take one answer; when it settles the gate, merge the approved action and queue the run, all in one commit.

    ``by`` is a user, or None for the policy, which needs no version and no hash. ``version`` and ``proposal_hash`` are
    what the decider saw. Raises Refused (the current gate inside) or InvalidDecision; then nothing is written.
    """
    run = moves.lock(Gate.objects.values_list("run_id", flat=True).get(pk=gate_id))
    gate = Gate.objects.select_for_update(no_key=True).get(pk=gate_id)
    gate.run = run
    if by is not None and (why := gate.why_not(by)):
        raise NotYours(gate, why)
    if not gate.is_open:
        when = f" at {gate.final_at:%Y-%m-%d %H:%M:%S} UTC" if gate.final_at else ""
        raise GateClosed(gate, f"Somebody was first: {closed_in_words(gate)}{when}.")
    if by is not None and (gate.version, gate.proposal_hash) != (version, proposal_hash):
        raise GateChanged(gate, "The proposal has changed since you saw it. Read it again, then decide.")
    valid = list(gate.decisions.filter(voided_at=None))
    if by is not None and any(decision.by_id == by.pk for decision in valid):
        raise AlreadyVoted(gate, "Your vote is in already.")
    _check(gate, verdict, args, comment)
    decision = Decision.objects.create(
        gate=gate,
        verdict=verdict,
        by=by,
        by_name=by.get_username() if by is not None else "policy",
        channel=channel,
        comment=comment,
        args=None if args is None else dict(args),
        version=gate.version,
        proposal_hash=gate.proposal_hash,
    )
    if verdict == Verdict.EDIT:
        _change_action(gate, decision)
        valid = []
    _settle(run, gate, decision, got=sum(counts(one) for one in [*valid, decision]))
    return decision


def closed_in_words(gate: Gate) -> str:
    """Who closed the gate, and how."""
    if gate.status == GateStatus.WITHDRAWN:
        return "this gate was withdrawn, for its run no longer waits for it"
    return f"{gate.outcome_by} {VERDICTS.get(gate.outcome_verdict, gate.outcome_verdict)}"


def counts(decision: Decision) -> bool:
    """Whether the decision counts towards the quorum."""
    return decision.voided_at is None and decision.verdict in (Verdict.APPROVE, Verdict.EDIT)


def votes(gate: Gate) -> int:
    """How many count towards the quorum; from the prefetched decisions where a list has them."""
    return sum(counts(decision) for decision in gate.decisions.all())


def _check(gate: Gate, verdict: str, args: Mapping[str, Any] | None, comment: str) -> None:
    if verdict not in gate.verdicts:
        raise InvalidDecision({"verdict": f"one of {', '.join(gate.verdicts)} was expected, not {verdict!r}"})
    if len(comment) > COMMENT_LIMIT or "\0" in comment:
        raise InvalidDecision({"comment": f"text of at most {COMMENT_LIMIT} characters, without NUL, was expected"})
    if verdict == Verdict.RESPOND and not comment.strip():
        raise InvalidDecision({"comment": "write the words for the agent first"})
    named = masking.secret_fields(registry.schema(gate.run.workflow, gate.run.version)) & set(args or {})
    if named:
        text = "a secret cannot be given with a decision, which is kept as it is; change the state when the run is held"
        raise InvalidDecision({f"args.{name}": text for name in sorted(named)})
    if verdict == Verdict.EDIT:
        if gate.action is None:
            raise InvalidDecision({"verdict": "this gate has no action that could be edited"})
        if args is None:
            raise InvalidDecision({"args": "the edited arguments were expected"})
        check_args(gate.action["schema"], args)
        if gate.merges:
            outcome.check_edit(gate.run, args)
    elif verdict != Verdict.HAPPENED and args is not None:
        raise InvalidDecision({"args": f"arguments go only with 'edit' and 'happened', not with {verdict!r}"})


def check_args(schema: Mapping[str, Any], args: Any) -> None:
    """Raises InvalidDecision that names each argument that the action's JSON Schema refuses."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    errors = {
        ".".join(["args", *(str(part) for part in error.absolute_path)]): error.message[:500]
        for error in validator.iter_errors(args)
    }
    if isinstance(args, Mapping) and "properties" in schema:
        unknown = [name for name in args if name not in schema["properties"]]
        errors |= {f"args.{name}": "the action has no such argument" for name in unknown}
    if errors:
        raise InvalidDecision(errors)


def _change_action(gate: Gate, decision: Decision) -> None:
    """The edit is its editor's vote for the edited action: earlier votes are void, the version goes up."""
    gate.decisions.filter(voided_at=None).exclude(pk=decision.pk).update(voided_at=decision.at)
    action: dict[str, Any] = dict(gate.action or {})
    gate.action = {**action, "args": decision.args, "proposed": action.get("proposed", action.get("args"))}
    gate.version += 1
    gate.proposal_hash = rehash(gate)
    gate.save(update_fields=["action", "version", "proposal_hash"])


def _settle(run: Run, gate: Gate, decision: Decision, got: int) -> None:
    approving = decision.verdict in (Verdict.APPROVE, Verdict.EDIT)
    needed = gate.quorum if approving and decision.by is not None else 1
    final = not approving or got >= needed
    detail = {
        "gate": str(gate.id),
        "title": gate.title,
        "verdict": decision.verdict,
        "comment": decision.comment,
        "channel": decision.channel,
        "final": final,
        **({"args": _shown(run, decision.args)} if decision.args is not None else {}),
        **({"votes": f"{got} of {gate.quorum}"} if gate.quorum > 1 else {}),
        **({"branch": gate.branch.index} if gate.branch else {}),
    }
    attempt = gate.branch.attempt if gate.branch else run.attempt
    journal.record(run.pk, journal.Entry(Kind.DECIDED, gate.step, attempt, decision.by_name, detail))
    if final:
        outcome.close(run, gate, decision)
    else:
        moves.poke_on_commit(run)


def _shown(run: Run, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the journal keeps them: fields that the state marks as secret are masked."""
    return masking.masked(registry.schema(run.workflow, run.version), args)
