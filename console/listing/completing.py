"""What can follow in a query that is being typed."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth import get_user_model

from runs.models import Run
from runs.moves import Status
from runs.query import NAMES
from runs.terms import IS, MINE
from workflows import registry

MOST = 12
RECENT = 200  # runs whose labels are offered


@dataclass(frozen=True)
class Completion:
    """``text`` is the query as it would be; ``label`` what is added, ``hint`` what that means."""

    text: str
    label: str
    hint: str = ""


def completions(typed: str) -> list[Completion]:
    """For the last word of ``typed``; what stands before it stays."""
    head, _, last = typed.rpartition(" ")
    head, minus = (f"{head} " if head else ""), ("-" if last.startswith("-") else "")
    name, colon, value = last.removeprefix("-").partition(":")
    if not colon:
        offers: Iterable[tuple[str, str]] = _names(name)
        return [Completion(f"{head}{minus}{text}", text, hint) for text, hint in list(offers)[:MOST]]
    before, comma, part = value.rpartition(",") if name == "status" else ("", "", value)
    found = [one for one in _values(name) if part.lower() in one.lower() and one != part]
    return [Completion(f"{head}{minus}{name}:{before}{comma}{_quoted(one)} ", one) for one in found[:MOST]]


def _names(start: str) -> Iterable[tuple[str, str]]:
    for name, hint in NAMES.items():
        if name != "label." and name.startswith(start):
            yield f"{name}:", hint
    for key in _label_keys():
        if f"label.{key}".startswith(start) or (start and key.startswith(start)):
            yield f"label.{key}:", "a label"


def _values(name: str) -> list[str]:
    if name == "status":
        return list(Status.values)
    if name == "is":
        return [*IS, MINE]
    if name == "workflow":
        return [one.name for one in registry.all_newest()]
    if name == "step":
        return sorted({step for one in registry.all_newest() for step in (*one.steps, *one.branches)})
    if name == "by":
        users = get_user_model().objects.filter(is_active=True).order_by("username")
        return list(users.values_list("username", flat=True)[:200])
    if name.startswith("label."):
        key = name.removeprefix("label.")
        return sorted({str(labels[key]) for labels in _recent_labels() if key in labels})
    return {"started": ["<1h", "<24h", "today", "<7d"], "finished": ["<1h", "today"], "cost": [">1"], "took": [">1h"]}.get(
        name, []
    )


def _recent_labels() -> list[dict[str, str]]:
    return list(Run.objects.order_by("-created_at").values_list("labels", flat=True)[:RECENT])


def _label_keys() -> list[str]:
    return sorted({key for labels in _recent_labels() for key in labels})


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
