"""What people do at a gate beside deciding it: claim, delegate, snooze, comment. Each is an entry of the run's journal."""

import re
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from approvals import rights
from approvals.models import Delegation, Gate, Snooze
from approvals.models.gate import CLAIM_LASTS
from approvals.refusals import AlreadyClaimed, AlreadyVoted, GateClosed, InvalidDecision, NotYours
from approvals.services.checking import check_text
from approvals.services.deciding import closed_in_words, lock
from runs.clock import Now, database_now
from runs.models import Act, Kind, Run
from runs.services import audit, journal, moves

MENTION = re.compile(r"(?<![\w@])@([\w.@+-]*\w)")
FARTHEST = timedelta(days=3650)
AUDITED = {
    "claim": Act.CLAIMED,
    "unclaim": Act.UNCLAIMED,
    "delegate": Act.DELEGATED,
    "undelegate": Act.UNDELEGATED,
    "snooze": Act.SNOOZED,
    "wake": Act.WOKE,
    "comment": Act.COMMENTED,
}
MENTIONS = 20  # people that one comment names at most


@transaction.atomic
def claim(gate_id: uuid.UUID, *, by: Any, take_over: bool = False) -> Gate:
    """Say that one is on it, for a quarter of an hour. It keeps nobody from deciding; others see it, and pass the gate over.

    Raises NotYours, GateClosed; AlreadyClaimed where somebody else is on it, and ``take_over`` is not said.
    """
    run, gate, _ = _mine(gate_id, by)
    other = claimant(gate, database_now())
    if other is not None and other.pk != by.pk and not take_over:
        raise AlreadyClaimed(gate, f"{other} is on it already. Take it over if you must.")
    if other is None or other.pk != by.pk:
        _tell(run, gate, by, "claimed it" if other is None else f"took it over from {other}", act="claim")
    gate.claimed_by, gate.claimed_at = by, database_now()
    gate.save(update_fields=["claimed_by", "claimed_at"])
    return gate


@transaction.atomic
def unclaim(gate_id: uuid.UUID, *, by: Any) -> Gate:
    """Leave it to others again. One's own claim that is not there is no error. Raises GateClosed."""
    run, gate = _open(gate_id)
    if gate.claimed_by_id == by.pk:
        _leave(gate)
        _tell(run, gate, by, "left it to others again", act="unclaim")
    return gate


def _leave(gate: Gate) -> None:
    gate.claimed_by = gate.claimed_at = None
    gate.save(update_fields=["claimed_by", "claimed_at"])


def claimant(gate: Gate, now: datetime) -> User | None:
    """Who is on it. A claim lasts for a quarter of an hour, so that nobody's leave takes a gate along."""
    if gate.claimed_by is None or gate.claimed_at is None or gate.claimed_at + CLAIM_LASTS <= now:
        return None
    return gate.claimed_by


@transaction.atomic
def delegate(gate_id: uuid.UUID, *, by: Any, to: str, reason: str = "") -> Gate:
    """Pass one's right to decide this gate on to another person, who then decides in one's place.

    Only who could decide now can pass that on. Raises NotYours, AlreadyVoted, GateClosed, InvalidDecision.
    """
    run, gate, right = _mine(gate_id, by)
    receiver = _receiver(gate, by, to)
    gate.delegations.filter(holder=right.holder, ended_at=None).update(ended_at=Now())
    Delegation.objects.create(gate=gate, holder=right.holder, giver=by, receiver=receiver, at=database_now())
    if gate.claimed_by_id == by.pk:
        _leave(gate)
    whose = "" if right.holder.pk == by.pk else f" what is {right.holder}’s to decide"
    _tell(run, gate, by, f"passed it on to {receiver}{whose}", reason, act="delegate", to=receiver.get_username())
    return gate


def person(username: str) -> User | None:
    """Who can sign in under that name, as somebody has typed it."""
    return None if "\0" in username else User.objects.filter(username=username.strip(), is_active=True).first()


def _receiver(gate: Gate, by: Any, to: str) -> User:
    """Raises InvalidDecision that says who would do."""
    name = to.removeprefix("user:").strip()
    receiver = person(name)
    if receiver is None:
        raise InvalidDecision({"to": f"the name of somebody who can sign in here was expected, not {name[:100]!r}"})
    if receiver.pk == by.pk:
        raise InvalidDecision({"to": "you have it already"})
    if not gate.allow_self and receiver.pk in gate.run.starters:
        raise InvalidDecision({"to": f"{receiver} started the run, and the policy wants somebody else to decide"})
    theirs = rights.standing(gate, receiver)
    if theirs.right is not None or theirs.voted:
        raise InvalidDecision({"to": f"{receiver} is asked already, and has one vote"})
    return receiver


@transaction.atomic
def take_back_delegation(gate_id: uuid.UUID, *, by: Any) -> Gate:
    """Decide oneself again what one has passed on. Raises NotYours where one has not, GateClosed, AlreadyVoted."""
    run, gate = _open(gate_id)
    given = gate.delegations.filter(holder=by, ended_at=None).select_related("receiver").first()
    if given is None:
        raise NotYours(gate, "You have not passed this gate on.")
    if gate.decisions.standing().filter(holder=by).exists():
        raise AlreadyVoted(gate, f"{given.receiver} has voted for you already.")
    given.ended_at = database_now()
    given.save(update_fields=["ended_at"])
    _tell(run, gate, by, f"took it back from {given.receiver}", act="undelegate")
    return gate


@transaction.atomic
def snooze(gate_id: uuid.UUID, *, by: Any, until: datetime, reason: str = "") -> Gate:
    """Put the gate out of one's own sight until then. Its clock goes on. Raises NotYours, GateClosed, InvalidDecision."""
    run, gate, _ = _mine(gate_id, by)
    if not timedelta(0) < until - database_now() < FARTHEST:
        raise InvalidDecision({"until": "a time in the future, and within ten years, was expected"})
    if gate.due_at is not None and until >= gate.due_at:
        raise InvalidDecision({"until": f"a time before the deadline was expected: {gate.due_at:%Y-%m-%d %H:%M} UTC"})
    Snooze.objects.update_or_create(gate=gate, user=by, defaults={"until": until})
    _tell(run, gate, by, f"snoozed it until {until:%Y-%m-%d %H:%M} UTC", reason, act="snooze", until=until.isoformat())
    return gate


@transaction.atomic
def wake(gate_id: uuid.UUID, *, by: Any) -> Gate:
    """See the gate again now. Raises GateClosed."""
    run, gate = _open(gate_id)
    if gate.snoozes.filter(user=by, until__gt=Now()).exists():
        gate.snoozes.filter(user=by).delete()
        _tell(run, gate, by, "woke it up", act="wake")
    return gate


@transaction.atomic
def comment(gate_id: uuid.UUID, *, by: Any, text: str) -> Gate:
    """Say something to the others at the gate, also when it is closed. ``@name`` mentions a person who can see it.

    Whoever may see the gate may comment. Raises InvalidDecision.
    """
    check_text("text", text)
    run, gate = lock(gate_id)
    _tell(run, gate, by, text, act="comment", mentions=mentioned(gate, text))
    return gate


def mentioned(gate: Gate, text: str) -> list[str]:
    """The people that the text names, of those who can see the gate."""
    names = list(dict.fromkeys(MENTION.findall(text)))[:MENTIONS]
    people = User.objects.filter(username__in=names, is_active=True)
    return sorted(one.get_username() for one in people if Gate.objects.visible_to(one).filter(pk=gate.pk).exists())


def _open(gate_id: uuid.UUID) -> tuple[Run, Gate]:
    run, gate = lock(gate_id)
    if not gate.is_open:
        raise GateClosed(gate, f"The gate is closed: {closed_in_words(gate)}.")
    return run, gate


def _mine(gate_id: uuid.UUID, by: Any) -> tuple[Run, Gate, rights.Right]:
    """An open gate that the person could decide now, and by which right."""
    run, gate = _open(gate_id)
    found = rights.standing(gate, by)
    if found.right is None:
        raise (AlreadyVoted if found.voted else NotYours)(gate, found.why_not)
    return run, gate, found.right


def _tell(run: Run, gate: Gate, by: Any, text: str, reason: str = "", *, act: str, **more: Any) -> None:
    check_text("reason", reason, least=0)
    why = {"reason": reason.strip()} if reason.strip() else {}
    detail = {"gate": str(gate.id), "title": gate.title, "act": act, "text": text, **why, **more}
    Gate.objects.filter(pk=gate.pk).update(acts=F("acts") + 1)
    moves.record(gate.branch or run, journal.Entry(Kind.NOTE, gate.step, None, by.get_username(), detail))
    moves.poke_on_commit(run)
    audit.record(by, AUDITED[act], run=run, gate=gate, reason=reason.strip(), changed={"text": text, **more})
