"""The one function that decides a gate. Every door (page, API, batch, bypass, timeout) goes through it."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, prefetch_related_objects

from approvals import rights
from approvals.models import Decision, Gate, GateStatus, Verdict
from approvals.refusals import AlreadyVoted, GateChanged, GateClosed, InvalidDecision, NotConfirmed, NotYours
from approvals.services import checking, outcome, tallying
from approvals.services.opening import proposal_of, rehash
from runs import doors
from runs.access import require
from runs.clock import Now
from runs.models import Act, Kind, Run
from runs.services import audit, journal, moves
from runs.words import VERDICTS
from workflows import codec, masking, registry

AGREED_SHOWN = 500  # bytes
BY_HAND = (doors.PAGE, doors.LINK, doors.BEARER)  # the doors whose decisions can be taken back for a moment


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
    confirmed: bool = False,
    looked_for_s: float | None = None,
) -> Decision:
    """Take one answer; when it settles the gate, merge the approved action and queue the run, all in one commit.

    ``by`` is a user, or None for the policy, which needs no version and no hash. ``version`` and ``proposal_hash`` are
    what the decider saw; ``confirmed``: they have just given their password; ``looked_for_s``: seconds for which they saw it,
    where somebody counted. Raises Refused (the current gate inside) or
    InvalidDecision; then nothing is written.
    """
    run, gate = lock(gate_id)
    prefetch_related_objects([gate], "decisions")  # read once, for the right and for the count
    right = None if by is None else _right(gate, by)
    _require_open(gate)
    if by is not None:
        _require_seen(gate, version, proposal_hash)
        _require_confirmed(gate, confirmed)
    proposal = proposal_of(gate)
    decision = _take(
        run, gate, by=by, right=right, verdict=verdict, args=args, comment=comment, channel=channel, looked_for_s=looked_for_s
    )  # fmt: skip
    if by is not None:
        _audit(run, gate, decision, proposal, Act.DECIDED)
    return decision


def decide_as_policy(run: Run, gate: Gate, verdict: str, comment: str) -> Decision:
    """What the policy does when its time is over. Both are locked, and the gate is open."""
    return _take(run, gate, by=None, right=None, verdict=verdict, args=None, comment=comment, channel="policy")


def _take(
    run: Run, gate: Gate, *, by: Any, right: rights.Right | None, verdict: str, args: Mapping[str, Any] | None, comment: str,
    channel: str, bypass: bool = False, looked_for_s: float | None = None,
) -> Decision:  # fmt: skip
    """Write the answer of somebody who may give it, and what follows. Raises InvalidDecision."""
    checking.check(gate, verdict, args, comment, of_policy=by is None)
    decision = Decision.objects.create(
        gate=gate,
        verdict=verdict,
        by=by,
        by_name=by.get_username() if by is not None else "policy",
        holder=right.holder if right else None,
        groups=list(right.groups) if right else [],
        bypass=bypass,
        channel=channel,
        looked_for_s=looked_for_s,
        comment=comment,
        args=None if args is None else dict(args),
        version=gate.version,
        proposal_hash=gate.proposal_hash,
    )
    if verdict == Verdict.EDIT:
        _change_action(gate, decision)
    _settle(run, gate, decision)
    return decision


@transaction.atomic
def bypass(
    gate_id: uuid.UUID,
    *,
    by: Any,
    verdict: str,
    reason: str,
    version: int | None = None,
    proposal_hash: str | None = None,
    channel: str,
    confirmed: bool = False,
) -> Decision:
    """An admin decides alone, past the approvers and the quorum, unless the policy forbids it. Not their own run, though.

    Raises NotPermitted, Refused, InvalidDecision.
    """
    require(by, "administer")
    run, gate = lock(gate_id)
    if why_not := rights.why_no_bypass(gate, by):
        raise NotYours(gate, why_not)
    _require_open(gate)
    if version is not None or proposal_hash is not None:
        _require_seen(gate, version, proposal_hash)
    _require_confirmed(gate, confirmed)
    if not reason.strip():
        raise InvalidDecision({"reason": "say why nobody whom the policy names can decide"})
    if verdict == Verdict.EDIT:
        raise InvalidDecision({"verdict": "a bypass approves or rejects what is proposed; it cannot change it"})
    earlier = gate.decisions.standing().filter(Q(by=by) | Q(holder=by)).values_list("pk", flat=True)
    own = Decision.objects.filter(pk__in=list(earlier))
    own.update(voided_at=Now())
    right = rights.Right(by, ())
    proposal = proposal_of(gate)
    made = _take(run, gate, by=by, right=right, verdict=verdict, args=None, comment=reason, channel=channel, bypass=True)
    own.update(voided_by=made)
    _audit(run, gate, made, proposal, Act.BYPASSED)
    return made


def _audit(run: Run, gate: Gate, decision: Decision, proposal: Mapping[str, Any], act: Act) -> None:
    """What the decider saw, and what they said to it. Secrets are masked, as in the journal."""
    action = proposal["action"]
    seen = {
        **proposal,
        "action": action and {**action, "args": _shown(run, action["args"])},
        "context": _shown(run, proposal["context"]),
        "step": gate.step,
        "version": decision.version,
        "proposal_hash": decision.proposal_hash,
    }
    changed = {
        "verdict": decision.verdict,
        **({"args": _shown(run, decision.args)} if decision.args is not None else {}),
        **({"for": decision.acts_for} if decision.acts_for else {}),
        "gate": gate.status,
    }
    audit.record(
        decision.by, act, run=run, gate=gate, decision_id=decision.pk, reason=decision.comment, seen=seen, changed=changed,
        channel=decision.channel, at=decision.at,
    )  # fmt: skip


def lock(gate_id: uuid.UUID) -> tuple[Run, Gate]:
    """The gate's run, then the gate, each under its lock. Raises Gate.DoesNotExist."""
    run = Run.objects.select_for_update(no_key=True, of=("self",)).filter(gates=gate_id).first()
    if run is None:
        raise Gate.DoesNotExist
    gate = Gate.objects.select_for_update(no_key=True).get(pk=gate_id)
    gate.run = run
    return run, gate


def closed_in_words(gate: Gate) -> str:
    """Who closed the gate, and how."""
    if gate.status == GateStatus.WITHDRAWN:
        return "this gate was withdrawn, for its run no longer waits for it"
    return f"{gate.outcome_by} {VERDICTS.get(gate.outcome_verdict, gate.outcome_verdict)}"


def _right(gate: Gate, by: Any) -> rights.Right:
    """Raises NotYours; AlreadyVoted where the gate is still open."""
    found = rights.standing(gate, by)
    if found.right is not None:
        return found.right
    if found.voted:
        _require_open(gate)
        raise AlreadyVoted(gate, "Your vote is in already.")
    raise NotYours(gate, found.why_not)


def _require_open(gate: Gate) -> None:
    if gate.is_open and gate.run.is_final:
        raise GateClosed(gate, f"The run is {gate.run.get_status_display().lower()}; nothing waits for an answer.")
    if not gate.is_open:
        when = f" at {gate.final_at:%Y-%m-%d %H:%M:%S} UTC" if gate.final_at else ""
        first = "Nobody is asked here any more" if gate.status == GateStatus.WITHDRAWN else "Somebody was first"
        raise GateClosed(gate, f"{first}: {closed_in_words(gate)}{when}.")


def _require_seen(gate: Gate, version: int | None, proposal_hash: str | None) -> None:
    if (gate.version, gate.proposal_hash) != (version, proposal_hash):
        raise GateChanged(gate, "The proposal has changed since you saw it. Read it again, then decide.")


def _require_confirmed(gate: Gate, confirmed: bool) -> None:
    if gate.wants_password and not confirmed:
        raise NotConfirmed(gate, "This gate is of high risk: give your password once more.")


def _change_action(gate: Gate, decision: Decision) -> None:
    """The edit is its editor's vote for the edited action: earlier votes are void, the version goes up."""
    earlier = gate.decisions.standing().exclude(pk=decision.pk)
    earlier.update(voided_at=decision.at, voided_by=decision)
    action: dict[str, Any] = dict(gate.action or {})
    decision.replaced = action.get("args")
    decision.save(update_fields=["replaced"])
    gate.action = {**action, "args": decision.args, "proposed": action.get("proposed", action.get("args"))}
    gate.version += 1
    gate.proposal_hash = rehash(gate)
    gate.save(update_fields=["action", "version", "proposal_hash"])


def _settle(run: Run, gate: Gate, decision: Decision) -> None:
    alone = decision.by is None or decision.bypass
    votes = tallying.tally(gate, [decision] if alone else _standing(gate, decision))
    final = alone or not (decision.agrees or decision.rejects)
    final = final or (decision.agrees and votes.is_met) or (decision.rejects and votes.vetoes >= gate.veto)
    detail = {
        "gate": str(gate.id),
        "title": gate.title,
        "verdict": decision.verdict,
        "comment": decision.comment,
        "channel": decision.channel,
        "final": final,
        **({"args": _shown(run, decision.args)} if decision.args is not None else {}),
        **_agreed(run, gate, decision),
        **({"replaced": _shown(run, decision.replaced)} if decision.replaced is not None else {}),
        **({"votes": votes.in_words()} if votes.needed > 1 and decision.agrees and not alone else {}),
        **({"votes": f"{votes.vetoes} of {gate.veto} rejections"} if gate.veto > 1 and decision.rejects and not alone else {}),
        **({"for": decision.acts_for} if decision.acts_for else {}),
        **({"bypass": True} if decision.bypass else {}),
    }
    attempt = gate.branch.attempt if gate.branch else run.attempt
    undo = settings.HOLDFAST_UNDO if decision.channel in BY_HAND else 0
    entry = journal.Entry(Kind.DECIDED, gate.step, attempt, decision.by_name, detail, tells_after=undo)
    moves.record(gate.branch or run, entry)
    if final:
        outcome.close(run, gate, decision, undo=timedelta(seconds=undo))
    else:
        moves.poke_on_commit(run)


def _standing(gate: Gate, decision: Decision) -> list[Decision]:
    """The votes that stand with this one; an edit has just voided those before it."""
    earlier = [] if decision.verdict == Verdict.EDIT else [vote for vote in gate.decisions.all() if vote.stands]
    return [*earlier, decision]


def _agreed(run: Run, gate: Gate, decision: Decision) -> dict[str, Any]:
    """The arguments that a plain approval is for, where they are few: whoever reads the history reads what was approved."""
    args = (gate.action or {}).get("args")
    if decision.verdict != Verdict.APPROVE or not args or len(codec.dumps(args)) > AGREED_SHOWN:
        return {}
    return {"approved": _shown(run, args)}


def _shown(run: Run, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the journal keeps them: fields that the state marks as secret are masked."""
    return masking.masked(registry.schema(run.workflow, run.version), args)
