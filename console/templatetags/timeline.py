"""Marks and words of the timeline's rows and bars."""

from django import template

from console.run_page.drawing import ENDS
from console.run_page.graph import Node
from console.run_page.rows import Bar, Row
from runs import words

register = template.Library()

MARKS = {"failed": "✕", "open": "◐", "done": "●", "point": "·"}
KINDS = {"gate": "◆", "held": "‖", "branch": "⇉", "run": "■"}
BARS = {
    "queue": "waited for a worker",
    "work": "worked",
    "failed": "failed",
    "lost": "worker lost",
    "doubt": "nobody knows yet",
    "people": "waited for people",
    "sleep": "slept",
    "branches": "branches",
    "held": "held",
    "undo": "undid",
    "point": "at",
}


@register.filter
def row_mark(row: Row) -> str:
    if row.waits_for_people:
        return KINDS["gate"]
    if row.kind == "gate" and row.is_passed:
        return "◇"
    return MARKS["failed"] if row.state == "failed" else KINDS.get(row.kind) or MARKS[row.state]


@register.filter
def bar_words(bar: Bar) -> str:
    what = bar.words if bar.kind == "sleep" and bar.words else BARS[bar.kind] + (f", {bar.words}" if bar.words else "")
    if bar.kind == "point":
        return f"after {words.duration(bar.start)}"
    return f"{what}, for {words.duration(bar.end - bar.start)}" if bar.end is not None else f"{what}, until now"


@register.filter
def minus(one: float, other: float) -> float:
    return one - other


@register.filter
def before(seq: int) -> int:
    """The entry before, as of which a state can be compared."""
    return max(0, seq - 1)


@register.filter
def add_px(size: float, more: int) -> str:
    """A length for an SVG, in whole pixels."""
    return f"{size + more:.0f}"


@register.filter
def end_words(name: str) -> str:
    return ENDS.get(name, name)


@register.filter
def node_mark(node: Node) -> str:
    """What kind of step it is, by its shape."""
    return {"gate": "◆ ", "branch": "⇉ "}.get(node.box.kind, "") + ("⚡ " if node.box.acts else "")
