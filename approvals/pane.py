"""One gate as its page shows it to one person: the facts, and what they may do."""

import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.http import HttpRequest

from approvals import confirming, rights, showing
from approvals.consequences import consequences, outside
from approvals.edit_form import EditForm
from approvals.models import Decision, Gate, GateKind
from approvals.services.deciding import closed_in_words
from approvals.services.outcome import is_put_off
from approvals.services.people import claimant
from approvals.services.reopening import differences
from approvals.services.tallying import tally
from checkpoints import current, store
from runs.access import may
from runs.clock import database_now
from runs.schema_form import SchemaForm, form_for
from workflows import registry
from workflows import state as states
from workflows.errors import StateUnreadable

Form = EditForm | SchemaForm
CONFIRMED_FOR = 300  # seconds that a password counts for the next decisions of the session
SNOOZES = {"30 minutes": 30, "1 hour": 60, "4 hours": 240, "1 day": 1440, "3 days": 4320}  # minutes


def shown(
    user: Any, gate: Gate, *, form: Form | None = None, refused: str = "", typed: Any = None, edited: Any = None
) -> dict[str, Any]:  # fmt: skip
    """The context of ``gates/_pane.html``."""
    now = database_now()
    standing = rights.standing(gate, user)
    decidable = gate.is_open and standing.right is not None
    run = gate.run
    steps, before = showing.path(gate)
    return {
        "gate": gate,
        "run": run,
        "branch": gate.branch,
        "form": form or form_of(gate, None),
        "facts": showing.facts(gate),
        "decisions": gate.decisions.select_related("holder"),
        "votes": tally(gate),
        "decidable": decidable,
        "acts_for": standing.right.holder if standing.right and standing.right.holder.pk != user.pk else None,
        "why_not": "" if decidable or not gate.is_open else standing.why_not,
        "closed": "" if gate.is_open else closed_in_words(gate),
        "consequences": consequences(gate),
        "outside": outside(gate),
        "path": steps,
        "path_before": before,
        "precedents": showing.precedents(gate, user),
        "history": showing.history(gate),
        "claimant": claimant(gate, now) if gate.is_open else None,
        "snoozed": gate.is_open and gate.snoozes.filter(user=user.pk, until__gt=now).first(),
        "passed_on": gate.is_open and gate.delegations.filter(holder=user.pk, ended_at=None).first(),
        "snoozes": [(words, minutes) for words, minutes in SNOOZES.items() if _fits(gate, now + timedelta(minutes=minutes))],
        "may_bypass": _may_bypass(user, gate) and not decidable,
        "refused": refused,
        "typed": typed or {},
        "edited": edited,
    }


def done(decision: Decision) -> dict[str, Any]:
    """The context of ``gates/_done.html``: what was just decided, and until when it can be taken back."""
    gate = decision.gate
    row = gate.branch or gate.run
    waits = is_put_off(row, gate)
    open_vote = gate.is_open and decision.voided_at is None
    until = (row.pause or {}).get("until") if waits and decision.voided_at is None else None
    return {"decision": decision, "gate": gate, "run": gate.run, "until": until, "vote": open_vote, "votes": tally(gate)}


def confirmed(request: HttpRequest) -> bool:
    """Whether the password was given now, or in this session a moment ago. Raises InvalidDecision for a wrong one."""
    if confirming.confirmed(request.user, request.POST.get("password")):
        request.session["confirmed_at"] = time.time()
        return True
    return bool(time.time() - request.session.get("confirmed_at", 0) < CONFIRMED_FOR)


def filled_in(form: Form) -> dict[str, Any]:
    """The arguments of a form that is valid."""
    return form.arguments() if isinstance(form, EditForm) else form.values()


@dataclass
class Edited:
    """An edit that is not sent yet: what it would change."""

    gate: Gate
    form: EditForm

    @cached_property
    def is_valid(self) -> bool:
        return bool(self.form.is_valid())

    @property
    def changes(self) -> dict[str, Any]:
        """``{argument: {"from", "to"}}``"""
        before = {"title": "", "summary": "", "action": {"name": "", "args": (self.gate.action or {})["args"]}, "context": {}}
        after = {**before, "action": {"name": "", "args": self.form.arguments()}}
        return {name.removeprefix("action."): one for name, one in differences(before, after).items()}


def form_of(gate: Gate, data: Any) -> Form | None:
    """The action's arguments, or what an effect that happened has returned."""
    if gate.kind == GateKind.OUTCOME:
        return _result_form(gate, data)
    if gate.action is None or "edit" not in gate.verdicts or not gate.action["schema"].get("properties"):
        return None
    try:
        return EditForm(gate.action["schema"], gate.action["args"], data)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError):  # a schema that is none: it cannot be edited here
        return None


def _result_form(gate: Gate, data: Any) -> SchemaForm | None:
    """The state's fields that nothing has set yet, all optional: among them is what the effect would have returned."""
    kind = registry.schema(gate.run.workflow, gate.run.version)
    if kind is None:
        return None
    try:
        seq = gate.branch.fan_out.seq if gate.branch else gate.run.seq
        unset = states.unset(kind, current.at(gate.run_id, kind, seq).values)
    except (store.HistoryBroken, StateUnreadable, states.StateInvalid):
        return None
    return form_for(states.schema_of(kind, unset))(data) if unset else None


def _fits(gate: Gate, until: Any) -> bool:
    return gate.due_at is None or until < gate.due_at


def _may_bypass(user: Any, gate: Gate) -> bool:
    allowed = gate.is_open and gate.kind == GateKind.APPROVAL and gate.policy.get("allow_bypass", True)
    own = not gate.allow_self and user.pk in gate.run.starters
    return bool(allowed and may(user, "administer") and not own)
