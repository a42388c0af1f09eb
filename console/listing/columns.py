"""The columns of the list of runs. Every row is rendered with all of them; the page hides what is not chosen."""

from collections.abc import Sequence

ALL = {
    "status": "Status",
    "run": "Run",
    "now": "Now",
    "labels": "Labels",
    "started": "Started",
    "took": "Took",
    "cost": "Cost",
    "tokens": "Tokens",
    "version": "Version",
    "by": "By",
}
ALWAYS = ("status", "run")
USUAL = ("status", "run", "now", "labels", "started", "took", "cost", "by")
NUMBERS = frozenset({"took", "cost", "tokens"})


def chosen(names: Sequence[str]) -> list[str]:
    """Those of ``names``, and those that are always there, in the page's order; the usual where none is named."""
    wanted = {*ALWAYS, *names} if any(name in ALL for name in names) else set(USUAL)
    return [name for name in ALL if name in wanted]


def hidden(shown: Sequence[str]) -> str:
    """The others, for the table's ``data-hide``."""
    return " ".join(name for name in ALL if name not in shown)
