"""One gate as its page shows it to one person: the facts, and what they may do."""

import hashlib
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
from approvals.services.tallying import tally
from checkpoints import comparing, current, store
from checkpoints import showing as differing
from runs.access import may
from runs.clock import database_now
from runs.schema_form import SchemaForm, form_for
from workflows import codec, registry
from workflows import state as states
from workflows.errors import StateUnreadable

Form = EditForm | SchemaForm
CONFIRMED_FOR = 300  # seconds that a password counts for the next decisions of the session
SNOOZES = {"30 minutes": 30, "1 hour": 60, "4 hours": 240, "1 day": 1440, "3 days": 4320}  # minutes


def shown(
    user: Any, gate: Gate, *, form: Form | None = None, refused: str = "", typed: Any = None, edited: Any = None,
    confirmed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The context of ``gates/_pane.html``."""
    now = database_now()
    standing = rights.standing(gate, user)
    decidable = gate.is_open and standing.right is not None
    run = gate.run
    steps, before = showing.path(gate)
    story = showing.history(gate)
    return {
        "gate": gate,
        "run": run,
        "branch": gate.branch,
        "form": form or form_of(gate, None),
        "facts": showing.facts(gate),
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
        "history": story,
        "asked_again": _asked_again(gate, story),
        "own_vote": next((one for one in gate.decisions.all() if gate.is_open and one.stands and one.by_id == user.pk), None),
        "confirmed": confirmed,
        "claimant": claimant(gate, now) if gate.is_open else None,
        "snoozed": gate.is_open and gate.snoozes.filter(user=user.pk, until__gt=now).first(),
        "passed_on": gate.is_open and gate.delegations.filter(holder=user.pk, ended_at=None).first(),
        "snoozes": [(words, minutes) for words, minutes in SNOOZES.items() if _fits(gate, now + timedelta(minutes=minutes))],
        "may_bypass": gate.is_open and not decidable and may(user, "administer") and not rights.why_no_bypass(gate, user),
        "refused": f"{refused.rstrip('.')}." if refused else "",
        "typed": typed or {},
        "edited": edited,
    }


def done(decision: Decision) -> dict[str, Any]:
    """The context of one decision in ``gates/_done.html``; ``left``: seconds for which it can be taken back."""
    gate = decision.gate
    row = gate.branch or gate.run
    stands = decision.stands
    left = (row.available_at - database_now()).total_seconds() if stands and is_put_off(row, gate) else 0.0
    asked_again = not stands and _asked_again(gate, showing.history(gate)) is not None
    return {
        "decision": decision,
        "gate": gate,
        "run": gate.run,
        "left": round(max(0.0, left), 1),
        "vote": gate.is_open and stands,
        "votes": tally(gate),
        "asked_again": asked_again,
    }


def _asked_again(gate: Gate, story: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What had changed when the gate was asked again, where nothing has been decided since."""
    kinds = [entry for entry in story if entry["kind"] in ("gate_opened", "gate_reopened", "decided")]
    last = kinds[-1] if kinds else None
    return last["detail"] if gate.is_open and last is not None and last["detail"].get("changed") else None


def confirmed(request: HttpRequest) -> bool:
    """Whether the password was given now, or in this session a moment ago. Raises InvalidDecision for a wrong one."""
    if confirming.confirmed(request.user, request.POST.get("password")):
        request.session["confirmed_at"] = time.time()
        return True
    return is_confirmed(request)


def is_confirmed(request: HttpRequest) -> bool:
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

    @cached_property
    def changes(self) -> list[differing.Shown]:
        """Every place that it changes."""
        return differing.shown(list(comparing.differences((self.gate.action or {})["args"], self.form.arguments())))

    @property
    def mark(self) -> str:
        """What tells these arguments from others: an edit is sent with that of the difference that was shown."""
        return hashlib.sha256(codec.dumps(self.form.arguments())).hexdigest()[:32]


def form_of(gate: Gate, data: Any) -> Form | None:
    """The action's arguments, or what an effect that happened has returned."""
    if gate.kind == GateKind.OUTCOME:
        return _result_form(gate, data)
    if gate.action is None or "edit" not in gate.verdicts or not gate.action["schema"].get("properties"):
        return None
    try:
        return EditForm(gate.action["schema"], gate.action["args"], data, gate.action.get("order", ()))
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
