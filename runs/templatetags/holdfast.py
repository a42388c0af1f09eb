"""Filters and marks that every page uses."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import markdown as agent_markdown
from runs import words

register = template.Library()

MARKS = {
    "queued": "◌",
    "running": "◐",
    "waiting": "◆",
    "held": "‖",
    "succeeded": "●",
    "failed": "✕",
    "rejected": "⊘",
    "cancelled": "–",
    "rolling_back": "↶",
    "rolled_back": "↶",
    "open": "◆",
    "decided": "●",
    "withdrawn": "–",
}
ENTRY_MARKS = {
    "checkpoint": "●",
    "attempt_failed": "✕",
    "worker_lost": "⚡",
    "verified": "?",
    "gate_opened": "◆",
    "decided": "◆",
    "held": "‖",
    "note": "✎",
    "ended": "■",
    "fan_out": "⇉",
    "branch": "⇉",
    "slept": "☾",
    "signal": "⚑",
    "compensated": "↶",
    "gate_reopened": "◆",
    "escalated": "↑",
    "reminded": "!",
    "forked": "↳",
}


@register.simple_tag
def status(name: str, words: str = "") -> SafeString:
    """A status: a shape and a word beside its colour."""
    mark = '<span class="status" data-status="{}"><span class="status-mark" aria-hidden="true">{}</span>{}</span>'
    return format_html(mark, name, MARKS.get(name, "·"), words or str(name).replace("_", " "))


@register.simple_tag
def moment(at: datetime | str | None, style: str = "relative") -> SafeString | str:
    """A time that keeps ticking, with the exact one on hover."""
    if not at:
        return ""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    exact = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    mark = '<time datetime="{}" data-style="{}" title="{}">{}</time>'
    return format_html(mark, when.isoformat(), style, exact, exact)


@register.filter
def money(value: Any) -> str:
    amount = Decimal(str(value or 0))
    return f"${amount:.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


@register.filter
def thousands(value: Any) -> str:
    number = int(value or 0)
    return f"{number / 1000:.1f} k" if number >= 1000 else str(number)


@register.filter
def in_words(entry: dict[str, Any]) -> str:
    return words.visible(words.entry_in_words(entry))


@register.filter
def verdict_words(verdict: str) -> str:
    return words.VERDICTS.get(verdict, verdict)


@register.filter
def pairs(found: Any) -> list[tuple[Any, Any]]:
    """The items of a mapping; ``found.items`` would be its key of that name."""
    return list(found.items()) if found else []


@register.filter
def field_words(name: str) -> str:
    """A field's path as people read it: ``lines.0.amount`` → ``lines 1 amount``."""
    return " ".join(str(int(part) + 1) if part.isdecimal() else part.replace("_", " ") for part in str(name).split("."))


@register.filter
def took(milliseconds: Any) -> str:
    return words.duration(milliseconds) if isinstance(milliseconds, (int, float)) else ""


@register.filter
def took_seconds(seconds: float | None) -> str:
    return words.duration(seconds * 1000) if isinstance(seconds, (int, float)) else ""


@register.filter
def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


@register.filter
def share_of(number: float, whole: float) -> str:
    """From 0 to 100, as an SVG wants it."""
    return f"{100 * number / whole if whole else 0:.1f}"


@register.filter
def is_of_the_run(kind: str) -> bool:
    """Whether an entry of that kind is about the run, and not about the step where it happens to stand."""
    return kind in ("held", "released", "retried", "cancelled", "forked", "ended")


@register.filter
def entry_mark(kind: str) -> str:
    return ENTRY_MARKS.get(kind, "·")


@register.filter
def pretty(value: Any) -> str:
    """JSON for reading. Plain text: the template escapes it."""
    return words.visible(json.dumps(value, indent=2, ensure_ascii=False))


@register.filter
def is_plain(value: Any) -> bool:
    """Whether a value is short enough to stand in a line."""
    return not isinstance(value, (dict, list)) and len(str(value)) <= 200


@register.filter
def is_plain_list(value: Any) -> bool:
    """Whether a value is a list of short plain values, which reads best as lines."""
    return isinstance(value, list) and bool(value) and all(is_plain(item) for item in value)


@register.filter
def inline(value: Any) -> str:
    return words.visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@register.filter
def visible(text: Any) -> str:
    return words.visible(str(text))


@register.filter
def size_of(value: Any) -> str:
    """What a folded value holds, in words."""
    if isinstance(value, list):
        return f"list of {len(value)}" if value else "empty list"
    if isinstance(value, dict):
        return f"object of {len(value)}"
    return f"text of {len(str(value))} characters"


@register.filter(name="markdown")
def markdown_filter(text: str) -> SafeString:
    return agent_markdown.render(words.visible(text))
