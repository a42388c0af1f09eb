"""Numbers and series of plots."""

from collections.abc import Mapping, Sequence

from django import template

from runs import words
from runs.templatetags import holdfast

register = template.Library()


@register.filter
def in_unit(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "dollars":
        return holdfast.money(value)
    if unit == "tokens":
        return holdfast.thousands(value)
    return words.duration(value * 1000) if unit == "seconds" else f"{value:.0f}"


@register.filter
def place_of(series: Sequence[str], name: str) -> str:
    """What its colour follows from: how runs ended has colours of its own."""
    return name if name in ("succeeded", "failed", "otherwise", "others") else str(series.index(name) + 1)


@register.filter
def value_of(values: Mapping[str, float], name: str) -> float | None:
    return values.get(name)
