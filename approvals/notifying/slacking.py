"""A Slack app's messages: what is asked, with buttons that ask once more before they decide."""

from typing import Any

from approvals.consequences import Outside, consequences, outside
from approvals.models import Delivery, Gate, Occasion
from approvals.notifying import webhooks, wording
from approvals.notifying.occasions import address
from workflows import codec

DECIDE = "holdfast.decide"  # action_id of the buttons, with the verdict behind it
STYLES = {"approve": "primary", "reject": "danger"}
ARGUMENTS = 10
TEXT = 2900  # characters that Slack takes in one section


def send(delivery: Delivery, url: str) -> int:
    """Post it. Raises NotTaken."""
    return post(url, {"text": wording.harmless(wording.title(delivery)), "blocks": blocks(delivery)})


def post(url: str, message: dict[str, Any]) -> int:
    """Post a message, or an answer to a pressed button. Raises NotTaken."""
    return webhooks.post(url, codec.dumps(message).decode(), {})


def blocks(delivery: Delivery) -> list[dict[str, Any]]:
    """What is told; where somebody is to act, what will happen and the buttons."""
    text = "\n".join([f"*{_mrkdwn(wording.title(delivery))}*", *map(_mrkdwn, wording.lines(delivery))])
    found = [_section(text)]
    gate = delivery.gate if Occasion(delivery.occasion).asks else None
    if gate is None:
        return [*found, _actions([_open(wording.url(delivery))])]
    if arguments := _arguments(gate):
        found.append(_section("\n".join([f"*{_mrkdwn(str((gate.action or {})['name']))}*", *arguments])))
    found += [_section(_outside(one)) for one in outside(gate)]
    return [*found, _actions([*_buttons(gate), _open(wording.url(delivery))])]


def answered(gate: Gate, text: str) -> dict[str, Any]:
    """The message in place of the one whose button was pressed: without buttons that decide."""
    said = _section("\n".join([f"*{_mrkdwn(wording.line(gate.title))}*", *_arguments(gate), _mrkdwn(text)]))
    return {"replace_original": True, "text": wording.harmless(text), "blocks": [said, _actions([_open(page_of(gate))])]}


def page_of(gate: Gate) -> str:
    return address("gate-detail", gate.pk)


def _arguments(gate: Gate) -> list[str]:
    return [_mrkdwn(f"{one.name}: {wording.line(one.value, 200)}") for one in gate.arguments()[:ARGUMENTS]]


def _outside(effect: Outside) -> str:
    undo = "It can be undone." if effect.undone_by else "It cannot be undone by Holdfast."
    return f"⚡ {_mrkdwn(effect.name)} changes the world outside. {undo}"


def _buttons(gate: Gate) -> list[dict[str, Any]]:
    """Approve and reject, where nothing has to be typed for that. What is pressed is bound to what is shown."""
    if gate.wants_password:
        return []
    follows = consequences(gate)
    value = codec.dumps({"gate": str(gate.pk), "version": gate.version, "hash": gate.proposal_hash}).decode()
    wanted = [verdict for verdict in STYLES if verdict in gate.verdicts and verdict not in gate.policy.get("comment", ())]
    return [
        {
            "type": "button",
            "action_id": f"{DECIDE}.{verdict}",
            "style": STYLES[verdict],
            "text": _plain(verdict.capitalize()),
            "value": value,
            "confirm": {
                "title": _plain(f"{verdict.capitalize()}?"),
                "text": _plain(follows.get(verdict, "")[:300] or verdict),
                "confirm": _plain(verdict.capitalize()),
                "deny": _plain("Back"),
            },
        }
        for verdict in wanted
    ]


def _open(url: str) -> dict[str, Any]:
    return {"type": "button", "action_id": "holdfast.open", "text": _plain("Open"), "url": url}


def _actions(elements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "actions", "elements": elements}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:TEXT], "verbatim": True}}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def _mrkdwn(text: str) -> str:
    """As Slack wants control characters escaped; and no marks of its own are made of what a workflow wrote."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "*_~`":
        text = text.replace(mark, f"\u2060{mark}\u2060")
    return text
