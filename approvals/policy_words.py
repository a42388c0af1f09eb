"""A policy as a person reads it."""

from collections.abc import Mapping
from typing import Any

from approvals.models import in_words
from workflows.durations import exact
from workflows.hours import WorkingHours

ENDS = {"reject": "rejected", "approve": "approved without a person", "fail": "the run fails", "keep": "goes on waiting"}


def sentences(policy: Mapping[str, Any]) -> list[str]:
    """Who decides, how many, by when, and what happens otherwise."""
    return [sentence for sentence in (_who(policy), _when(policy), *_rules(policy)) if sentence]


def _who(policy: Mapping[str, Any]) -> str:
    names = policy["approvers"]
    people = "whom a function of the state names" if names is None else in_words(_bare(name) for name in names)
    quorum = policy["quorum"]
    if isinstance(quorum, Mapping):
        return f"{', '.join(f'{count} of {_bare(name)}' for name, count in quorum.items())} must approve."
    return f"{people} decides." if quorum == 1 else f"{quorum} of {people} must approve."


def _when(policy: Mapping[str, Any]) -> str:
    if policy["timeout"] is None:
        return "It waits until somebody decides."
    hours = policy.get("hours")
    clock = f" of working time ({WorkingHours.from_json(hours).in_words()})" if hours else ""
    text = f"After {exact(policy['timeout'])}{clock}: {_then(policy['on_timeout'])}."
    reminders = [exact(before) for before in policy.get("remind", ())]
    return f"{text} Reminds {' and '.join(reminders)} before." if reminders else text


def _then(choice: Any) -> str:
    if not isinstance(choice, Mapping):
        return ENDS.get(choice, str(choice))
    names = in_words(_bare(name) for name in choice["escalate"])
    return f"{names} may decide too, for {exact(choice['timeout'])}; then {_then(choice['then'])}"


def _rules(policy: Mapping[str, Any]) -> list[str]:
    veto = policy.get("veto", 1)
    return [
        f"{veto} rejections end it." if veto > 1 else "One rejection ends it.",
        "" if policy["allow_self"] else "Not by whoever started the run.",
        f"Not by who approved {in_words(policy['distinct_from'])}." if policy.get("distinct_from") else "",
        f"Words are wanted to {in_words(policy['comment'])}." if policy.get("comment") else "",
        f"{str(policy.get('risk', 'normal')).capitalize()} risk." if policy.get("risk", "normal") != "normal" else "",
        "The password is asked for again." if policy.get("reauthenticate") else "",
        f"{in_words(policy['notify'])} hears of it." if policy.get("notify") else "",
        "Whoever has a link to it decides in its addressee’s name." if policy.get("links") == "bearer" else "",
        "" if policy.get("allow_bypass", True) else "Admins cannot pass it by.",
    ]


def _bare(name: str) -> str:
    return name.partition(":")[2]
