"""What templates need of gates."""

import time
from collections import Counter
from datetime import datetime
from typing import Any

from django import template
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from approvals import consequences
from approvals.models import Gate
from approvals.models.gate import CLAIM_LASTS
from approvals.policy_words import sentences
from approvals.services.people import MENTION
from approvals.services.tallying import tally
from runs import words

register = template.Library()
BUTTONS = {
    "approve": "Approve",
    "edit": "Change and approve",
    "reject": "Reject",
    "respond": "Reply",
    "happened": "It happened",
    "not_happened": "It did not",
    "retry": "Try again",
    "done_by_hand": "Done by hand",
    "fail": "Fail the run",
}


@register.filter
def then(gate: Gate) -> str:
    return consequences.then(gate)


@register.simple_tag
def shown_now() -> str:
    """When the page was made, in seconds; what is sent from it tells how long somebody looked."""
    return f"{time.time():.1f}"


@register.filter
def of(count: Counter[str], name: str) -> int:
    return count[name]


@register.filter
def shares(count: Counter[str]) -> list[tuple[str, int]]:
    """The outcomes there are, in the order of the key; the first word names each."""
    names = ("unchanged", "edited", "rejected", "answered", "timed out")
    return [(name.split()[0], count[name]) for name in names if count[name]]


@register.filter
def gate_mark(gate: Gate) -> str:
    """The status whose shape and colour the gate has in a list."""
    closed = {"": "cancelled", "approve": "succeeded", "edit": "succeeded", "reject": "rejected", "fail": "failed"}
    return "open" if gate.is_open else closed.get(gate.outcome_verdict, "succeeded")


@register.filter
def votes_words(gate: Gate) -> str:
    return tally(gate).in_words()


@register.filter
def button_words(verdict: str) -> str:
    return BUTTONS.get(verdict, verdict)


@register.filter
def is_fresh(at: datetime, now: datetime) -> bool:
    """Whether a claim of that time still counts."""
    return at + CLAIM_LASTS > now


@register.filter
def mentions(text: str, names: Any) -> SafeString:
    """The text, escaped, with the people that it mentions marked."""

    def mark(found: Any) -> str:
        return format_html("<strong>{}</strong>", found[0]) if found[1] in (names or ()) else found[0]

    return mark_safe(MENTION.sub(mark, escape(words.visible(text))))


@register.filter
def policy_words(policy: Any) -> str:
    return " ".join(sentences(policy))
