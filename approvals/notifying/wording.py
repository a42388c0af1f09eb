"""What a message says, in plain words. What the workflow wrote stands in quotation marks: it cannot pass for our own."""

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from approvals.models import Delivery, Occasion, Preference
from approvals.notifying import schedule
from runs.words import VERDICTS, visible

TITLE = 180  # characters


def title(delivery: Delivery) -> str:
    """One line: what is asked of whoever reads it, or what has happened."""
    body = delivery.body
    if delivery.occasion == Occasion.TEST:
        return "Test from Holdfast"
    gate, run = body.get("gate") or {}, body["run"]
    name = _name(run)
    what = f"“{line(gate.get('title', ''))}”"
    texts = {
        Occasion.OPENED: f"{'Asked again' if body.get('asked_again') else 'Decision needed'}: {what}",
        Occasion.REMINDED: f"{'Overdue' if body.get('overdue') else 'Still waiting'}: {what}",
        Occasion.ESCALATED: f"Escalated to you: {what}",
        Occasion.DELEGATED: f"{body.get('by')} passed on to you: {what}",
        Occasion.MENTIONED: f"{body.get('by')} mentions you: {what}",
        Occasion.DECIDED: f"{body.get('by')} {VERDICTS.get(body.get('verdict', ''), 'decided')}: {what}",
        Occasion.EXPIRED: f"Nobody decided in time: {what}",
        Occasion.WITHDRAWN: f"No decision needed any more: {what}",
        Occasion.FAILED: f"{name} failed",
        Occasion.STUCK: f"{name} is stuck at {run['step']}",
        Occasion.ROLLED_BACK: f"{name} was rolled back",
    }
    return _cut(texts[Occasion(delivery.occasion)])


def lines(delivery: Delivery) -> list[str]:
    """What there is to know beside the title, a sentence a line. Times are those of the person, in their zone."""
    body = delivery.body
    if delivery.occasion == Occasion.TEST:
        return [body["text"]]
    gate, run = body.get("gate") or {}, body["run"]
    occasion = Occasion(delivery.occasion)
    if gate:
        return [*_of_the_gate(occasion, body, gate, delivery.user), f"Run {_name(run)}, step {run['step']}."]
    return [*_of_the_run(occasion, body), f"Step {run['step']}, started by {run['started_by'] or 'nobody'}."]


def _name(run: dict[str, Any]) -> str:
    return f"{run['workflow']} …{run['id'][-4:]}"


def _of_the_gate(occasion: Occasion, body: dict[str, Any], gate: dict[str, Any], user: Any) -> list[str]:
    said = [f"“{line(body[name])}”" for name in ("text", "comment", "reason") if body.get(name)]
    if occasion == Occasion.MENTIONED:
        return said
    if occasion == Occasion.EXPIRED:
        return [f"The policy decided: {VERDICTS.get(body.get('verdict', ''), body.get('verdict', ''))}."]
    if occasion in (Occasion.DECIDED, Occasion.WITHDRAWN):
        return said
    asked = f"Asked: {gate['asks']}." + (f" Action: {line(gate['action'])}." if gate["action"] and user is None else "")
    risk = ["High risk."] if gate["risk"] == "high" else []
    again = [f"Changed since it was approved: {', '.join(map(line, body['asked_again']))}."] if body.get("asked_again") else []
    reason = [f"“{line(body['reason'])}”"] if occasion == Occasion.DELEGATED and body.get("reason") else []
    return [*reason, *again, asked, *risk, *deadline(gate, user)]


def _of_the_run(occasion: Occasion, body: dict[str, Any]) -> list[str]:
    done = [f"Done outside before that: {', '.join(map(line, body['done']))}."] if body.get("done") else []
    if occasion == Occasion.FAILED and (error := body.get("error")):
        return [f"{line(error['type'])}: {line(error['message'])}", *done]
    return [line(body["text"]) + "."] if body.get("text") else []


def deadline(gate: dict[str, Any], user: Any) -> list[str]:
    """When it is over, and what happens then."""
    if not gate["due_at"]:
        return ["No deadline."]
    zone = ZoneInfo("UTC") if user is None else schedule.zone_of(Preference.of(user))
    at = datetime.fromisoformat(gate["due_at"]).astimezone(zone)
    return [f"If nobody decides by {at:%Y-%m-%d %H:%M} {zone.key}: {gate['then']}."]


def url(delivery: Delivery) -> str:
    body = delivery.body
    return str(body["url"] if delivery.occasion == Occasion.TEST else (body.get("gate") or body["run"])["url"])


def harmless(text: str) -> str:
    """For chats: nobody is called by an @, and no mark-up or link is made of what a workflow wrote."""
    text = text.replace("@", "@\u2060").replace("<", "‹").replace(">", "›").replace("](", "]\u2060(")
    return re.sub(r"([*_~|`])", "\\1\u2060", text)


def line(text: Any, most: int = 500) -> str:
    """One line of it, with what nobody sees made visible: it cannot begin a line of its own."""
    return _cut(" ".join(visible(str(text)).split()), most)


def _cut(text: str, most: int = TITLE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
