"""A Slack app's messages: what is asked, with buttons that ask once more before they decide."""

from typing import Any

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from approvals.consequences import consequences
from approvals.models import Delivery, Gate, Occasion
from approvals.notifying import outbound, wording
from approvals.notifying.sending import TIMEOUT, NotTaken
from approvals.notifying.webhooks import OVERLOADED, story
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
    try:
        with outbound.guarded():
            answer = WebhookClient(url, timeout=int(TIMEOUT)).send_dict(message)
    except (OSError, SlackClientError, ValueError) as error:
        raise NotTaken(story(error)) from error
    if answer.status_code == 200:
        return 200
    headers = {name.lower(): value for name, value in answer.headers.items()}
    asked = str(headers.get("retry-after", ""))
    raise NotTaken(
        f"Slack answered {answer.status_code}: {answer.body[:300]}", status=answer.status_code,
        retry_after=float(asked) if asked.isdigit() else None, rest=answer.status_code in OVERLOADED,
        gone=answer.status_code == 410,
    )  # fmt: skip


def blocks(delivery: Delivery) -> list[dict[str, Any]]:
    """What is told; where somebody is to act, what will happen and the buttons."""
    text = "\n".join([f"*{_mrkdwn(wording.title(delivery))}*", *map(_mrkdwn, wording.lines(delivery))])
    found = [_section(text)]
    gate = delivery.gate if Occasion(delivery.occasion).asks else None
    if gate is None:
        return [*found, _actions([_open(wording.url(delivery))])]
    arguments = [f"{one.name}: {_mrkdwn(str(one.value))[:200]}" for one in gate.arguments()[:ARGUMENTS]]
    if arguments:
        found.append(_section("\n".join([f"*{_mrkdwn(str((gate.action or {})['name']))}*", *arguments])))
    return [*found, _actions([*_buttons(gate), _open(wording.url(delivery))])]


def answered(title: str, text: str) -> dict[str, Any]:
    """The message in place of the one whose button was pressed: without buttons."""
    return {"replace_original": True, "text": text, "blocks": [_section(f"*{_mrkdwn(title)}*\n{_mrkdwn(text)}")]}


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
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:TEXT]}}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def _mrkdwn(text: str) -> str:
    """As Slack wants control characters escaped; and no marks of its own are made of what a workflow wrote."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "*_~`":
        text = text.replace(mark, f"\u2060{mark}\u2060")
    return text
