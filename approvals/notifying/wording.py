"""What a message says, in plain words. What the workflow wrote stands in quotation marks: it cannot pass for our own."""

from datetime import datetime
from typing import Any

from approvals.models import Delivery, Occasion
from runs.words import VERDICTS, visible

TITLE = 180  # characters


def title(delivery: Delivery) -> str:
    """One line: what is asked of whoever reads it, or what has happened."""
    body = delivery.body
    gate, run = body.get("gate") or {}, body["run"]
    name = f"{run['workflow']} …{run['id'][-4:]}"
    what = f"“{_line(gate.get('title', ''))}”"
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
    """What there is to know beside the title, a sentence a line."""
    body = delivery.body
    gate, run = body.get("gate") or {}, body["run"]
    found = _of_the_gate(Occasion(delivery.occasion), body, gate) if gate else _of_the_run(Occasion(delivery.occasion), body)
    name = f"{run['workflow']} …{run['id'][-4:]}"
    return [
        *found,
        f"Run {name}, step {run['step']}." if gate else f"Step {run['step']}, started by {run['started_by'] or 'nobody'}.",
    ]


def _of_the_gate(occasion: Occasion, body: dict[str, Any], gate: dict[str, Any]) -> list[str]:
    said = [f"“{_line(body[name])}”" for name in ("text", "comment", "reason") if body.get(name)]
    if occasion == Occasion.MENTIONED:
        return said
    if occasion == Occasion.EXPIRED:
        return [f"The policy decided: {VERDICTS.get(body.get('verdict', ''), body.get('verdict', ''))}."]
    if occasion in (Occasion.DECIDED, Occasion.WITHDRAWN):
        return said
    asked = f"Asked: {gate['asks']}." + (f" Action: {gate['action']}." if gate["action"] else "")
    risk = ["High risk."] if gate["risk"] == "high" else []
    again = [f"Changed since it was approved: {', '.join(map(_line, body['asked_again']))}."] if body.get("asked_again") else []
    reason = [f"“{_line(body['reason'])}”"] if occasion == Occasion.DELEGATED and body.get("reason") else []
    return [*reason, *again, asked, *risk, *deadline(gate)]


def _of_the_run(occasion: Occasion, body: dict[str, Any]) -> list[str]:
    if occasion == Occasion.FAILED and (error := body.get("error")):
        return [f"{_line(error['type'])}: {_line(error['message'])}"]
    return [_line(body["text"]) + "."] if body.get("text") else []


def deadline(gate: dict[str, Any]) -> list[str]:
    """When it is over, and what happens then."""
    if not gate["due_at"]:
        return ["No deadline."]
    at = datetime.fromisoformat(gate["due_at"])
    return [f"If nobody decides by {at:%Y-%m-%d %H:%M} UTC: {gate['then']}."]


def url(delivery: Delivery) -> str:
    return str((delivery.body.get("gate") or delivery.body["run"])["url"])


def harmless(text: str) -> str:
    """For chats: nobody is called by an @, and no mark-up or link is made of what a workflow wrote."""
    return text.replace("@", "@\u2060").replace("<", "‹").replace(">", "›")


def _line(text: Any) -> str:
    return _cut(" ".join(visible(str(text)).split()), 500)


def _cut(text: str, most: int = TITLE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
