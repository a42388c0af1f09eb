"""Journal entries and durations in words, as a person reads them."""

import re
from datetime import datetime
from typing import Any

from workflows import codec
from workflows.durations import words

SHORT = 120  # bytes of a value that is shown whole in lists
VERDICTS = {
    "approve": "approved",
    "edit": "approved with changes",
    "reject": "rejected",
    "respond": "answered",
    "happened": "says that it happened",
    "not_happened": "says that it did not happen",
    "fail": "ended the run",
    "retry": "has it tried again",
    "done_by_hand": "has undone it by hand",
}


def entry_in_words(entry: dict[str, Any]) -> str:
    """One line. What a workflow wrote in it is text like any other: the template escapes it."""
    if entry["detail"].get("pruned") and entry["kind"] != "checkpoint":
        return f"{str(entry['kind']).replace('_', ' ')}; what it said was pruned"
    found = _WORDS.get(entry["kind"])
    return found(entry, entry["detail"]) if found else str(entry["kind"]).replace("_", " ")


def in_short(value: Any) -> dict[str, Any]:
    """A changed value as lists show it: ``{"to": value}``, or ``{"size": bytes}`` of a long one."""
    size = len(codec.dumps(value))
    return {"to": value} if size <= SHORT else {"size": size}


# Characters that turn the direction of what follows, or that nobody sees: agents' texts may hold them, and could mislead.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """The text with characters that nobody sees written as their code point."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else words(milliseconds / 1000)


def _checkpoint(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if not entry["step"]:
        return "the run was created with this input" if entry["seq"] == 0 else "the state was changed by hand"
    if detail.get("reused_from") is not None:
        return f"not done again: the result of seq {detail['reused_from']} of the run that this one was forked from"
    if detail.get("pruned"):
        return "what it changed was pruned"
    if detail.get("gate") == "passed":
        return "nobody had to be asked"
    return "" if detail["changed"] else "done"


def _failed(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    error = detail["error"]
    what = "at undoing it failed" if detail.get("undoing") else "failed"
    text = f"attempt {entry['attempt']} {what}: {error['type']}: {error['message'][:500]}"
    if detail.get("in_doubt"):
        text += f" · it may have happened: that is looked up after {words(detail['retry_in'])}"
    elif "retry_in" in detail:
        when = f"after {words(detail['retry_in'])}" if detail["retry_in"] >= 0.5 else "at once"
        text += f" · next try {when} (attempt {entry['attempt'] + 1})"
    return text


def _lost(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("undoing"):
        return f"its worker was lost while attempt {entry['attempt']} undid it; that is tried again with the same key"
    if not detail["in_flight"]:
        return "its worker was lost between two steps; the run goes on" + _saved(detail)
    return f"its worker was lost in attempt {entry['attempt']}; the step is taken over, finished steps are kept" + _saved(
        detail
    )


def _saved(detail: dict[str, Any]) -> str:
    """What resuming saved against a restart from the beginning."""
    saved = detail.get("saved") or {}
    parts = [f"${saved['cost_usd']:.4f}"] if saved.get("cost_usd") else []
    parts += [f"{saved['tokens']} tokens"] if saved.get("tokens") else []
    parts += [f"{duration(saved['seconds'] * 1000)} of work"] if saved.get("seconds") else []
    return f" · resuming saved {', '.join(parts)}" if parts else ""


def _retried(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("branches"):
        some = ", ".join(str(index) for index in detail["branches"][:10])
        return f"tried again: branch {some}; those that had not started go on, what is done stays so"
    changed = f" with {', '.join(detail['changed'])} changed" if detail.get("changed") else ""
    reason = f": {detail['reason']}" if detail.get("reason") else ""
    return f"tried again{changed}{reason}{_saved(detail)}"


def _released(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    changed = f" with {', '.join(detail['changed'])} changed" if detail.get("changed") else ""
    changed += f"; {detail['executes']} is executed" if detail.get("executes") else ""
    return f"released{changed}" + (f": {detail['reason']}" if detail.get("reason") else "")


def _verified(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    reason = f" ({detail['reason'][:300]})" if detail.get("reason") else ""
    later = f"; too early to believe, looked up again in {words(detail['asked_again_in'])}" if detail["asked_again_in"] else ""
    said = {"happened": "it had happened, nothing is sent again", "not happened": "it had not happened",
            "partly": "part of it had happened, the rest will be done", "unknown": "nobody can tell"}  # fmt: skip
    return f"looked up: {said.get(detail['answer'], detail['answer'])}{reason}{later}"


def _opened(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    title = detail["title"]
    asked = (" and " if detail.get("of_each") else " or ").join(detail["asks"])
    return f"waits for {asked}: {title if title.startswith('“') else f'“{title}”'}"


def _decided(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    said = f": “{detail['comment'][:500]}”" if detail.get("comment") else ""
    votes = f" · {detail['votes']}" if detail.get("votes") else ""
    if detail.get("carried_from"):
        votes = f" · in …{detail['carried_from'][-4:]}, of which this is a fork; the proposal is the same"
    verdict = VERDICTS.get(detail["verdict"], detail["verdict"])
    if detail.get("bypass"):
        verdict = f"passed the policy by and {verdict} alone"
    instead = f", in place of {detail['for']}" if detail.get("for") else ""
    return f"{verdict}{_changed_args(detail)}{instead}{said}{votes}"


def _changed_args(detail: dict[str, Any]) -> str:
    """What an edit has made of the arguments; or with which something happened."""
    args, replaced = detail.get("args") or detail.get("approved") or {}, detail.get("replaced")
    if replaced is None:
        words = [f"{name} {_brief(value)}" for name, value in args.items()]
    else:
        names = [name for name in {**replaced, **args} if replaced.get(name) != args.get(name)]
        words = [f"{name} {_brief(replaced.get(name))} → {_brief(args.get(name))}" for name in names]
    return f" ({', '.join(words[:5])})" if words else ""


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else codec.dumps(value).decode()
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"


def _escalated(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    names = ", ".join(name.partition(":")[2] for name in detail["to"])
    return f"escalated: nobody decided in time; now {names} may decide too" + _until(detail)


def _until(detail: dict[str, Any]) -> str:
    if not detail.get("due_at"):
        return ""
    return f", until {datetime.fromisoformat(detail['due_at']):%Y-%m-%d %H:%M} UTC"


def _reminded(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("overdue"):
        return "keeps the gate open: nobody decided in time"
    return (
        "reminds: nobody has decided; there is time" + _until(detail) if detail.get("due_at") else "reminds: nobody has decided"
    )


def _reopened(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("took_back"):
        return f"took it back (“{VERDICTS.get(detail['took_back'], detail['took_back'])}”); it is asked again"
    changed = [
        name if name == "summary" else f"{name} {_brief(one['from'])} → {_brief(one['to'])}"
        for name, one in (detail.get("changed") or {}).items()
    ]
    if not changed:
        return f"“{detail['title']}” is asked again"
    void = f"; void: the vote of {' and '.join(detail['void'])}" if detail.get("void") else ""
    return f"asked again, for it is not what was approved any more: {', '.join(changed[:5])}{void}"


def _withdrawn(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    return f"gate “{detail['title']}” withdrawn: {detail['reason']}"


def _forked(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    changed = ", ".join(f"{name} {change['from']} → {change['to']}" for name, change in list(detail["changed"].items())[:5])
    because = f": {detail['reason']}" if detail.get("reason") else ""
    return f"forked from …{detail['run'][-4:]} at seq {detail['seq']}" + (f", {changed}" if changed else "") + because


def _because(verb: str) -> Any:
    return lambda entry, detail: verb + (f": {detail['reason']}" if detail.get("reason") else "")


def _ended(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail["status"] == "rolled_back":
        left = f"; left as they are: {', '.join(detail['left'])}" if detail["left"] else ""
        return f"the run was rolled back, {detail['undone']} undone{left}"
    return (
        f"the run has {detail['status']}" if detail["status"] in ("succeeded", "failed") else f"the run was {detail['status']}"
    )


def _fan_out(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    most = f", {detail['max_parallel']} at a time" if detail["max_parallel"] else ""
    return f"sent {detail['of']} branches to {' and '.join(detail['branches'])}{most}"


def _branches(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    failed = f", {detail['failed']} failed" if detail["failed"] else ""
    why = f": {detail['errors'][0]['message'][:200]}" if detail["errors"] else ""
    return f"{detail['done']} of {detail['of']} branches are done{failed}{why}"


def _slept(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    return f"sleeps until {datetime.fromisoformat(detail['until']):%Y-%m-%d %H:%M:%S} UTC, then goes on at {detail['goto']}"


def _signal(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    payload = "" if detail["payload"] is None else f" with {codec.dumps(detail['payload']).decode()[:200]}"
    return f"sent the signal “{detail['name']}”{payload}" + (
        "; nobody waits for it now, it is kept" if detail.get("kept") else ""
    )


def _compensated(entry: dict[str, Any], detail: dict[str, Any]) -> str:
    if detail.get("by_hand"):
        return "undone by hand" + (f": “{detail['comment'][:300]}”" if detail.get("comment") else "")
    result = detail["result"]
    text = result if isinstance(result, str) else codec.dumps(result).decode()
    return "undone" if result is None else f"undone: {text[:300]}"


_WORDS: dict[str, Any] = {
    "checkpoint": _checkpoint,
    "attempt_failed": _failed,
    "worker_lost": _lost,
    "verified": _verified,
    "gate_opened": _opened,
    "decided": _decided,
    "escalated": _escalated,
    "gate_withdrawn": _withdrawn,
    "reminded": _reminded,
    "fan_out": _fan_out,
    "branch": _branches,
    "slept": _slept,
    "signal": _signal,
    "compensated": _compensated,
    "gate_reopened": _reopened,
    "forked": _forked,
    "held": _because("held"),
    "released": _released,
    "cancelled": _because("cancelled"),
    "retried": _retried,
    "note": lambda entry, detail: str(detail.get("text", "")) + (f": {detail['reason']}" if detail.get("reason") else ""),
    "ended": _ended,
}
