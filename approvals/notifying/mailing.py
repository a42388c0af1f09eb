"""E-mail, as text and as HTML: one message, or several together."""

import smtplib
from collections.abc import Sequence
from email.utils import make_msgid, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string
from django.urls import reverse

from approvals.consequences import consequences, outside
from approvals.models import Delivery, Gate, Occasion
from approvals.notifying import wording
from approvals.notifying.sending import TIMEOUT, NotTaken
from approvals.services import links
from runs import markdown as agent_markdown
from runs.words import visible
from workflows import masking, registry

ARGUMENT = 300  # characters of one that are shown


def send(deliveries: Sequence[Delivery]) -> None:
    """One e-mail to one person of all these. Raises NotTaken."""
    first = deliveries[0]
    user = first.user
    assert user is not None
    items = [_item(one) for one in deliveries]
    what = "decisions wait for you" if all(item["asks"] for item in items) else "things from Holdfast"
    subject = items[0]["title"] if len(items) == 1 else f"{len(items)} {what}"
    context = {"items": items, "user": user, "home": settings.HOLDFAST_URL, "subject": subject}
    context["settings_url"] = settings.HOLDFAST_URL + reverse("preference-detail")
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string("mail/message.txt", context),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[user.email],
        headers={"Message-ID": _message_id(first), "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=TIMEOUT),
    )
    message.attach_alternative(render_to_string("mail/message.html", context), "text/html")
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:  # this address alone; for good, where the server says so
        codes = [code for code, _ in error.recipients.values()]
        raise NotTaken(f"the address was refused: {error.recipients}", gone=all(code >= 500 for code in codes)) from error
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused, ValueError) as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error
    except OSError as error:  # nobody answers, or nobody is let in: so it is with all messages
        raise NotTaken(f"{type(error).__name__}: {error}", rest=True) from error


def _message_id(delivery: Delivery) -> str:
    """The delivery's own, so that a message which was sent twice is known for one."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or make_msgid().rpartition("@")[2].rstrip(">")
    return f"<{delivery.pk}@{domain}>"


def _item(delivery: Delivery) -> dict[str, Any]:
    occasion = Occasion(delivery.occasion)
    found: dict[str, Any] = {
        "title": wording.title(delivery),
        "lines": wording.lines(delivery),
        "url": wording.url(delivery),
        "asks": occasion.asks and delivery.gate is not None,
    }
    if found["asks"]:
        found |= _asked(delivery.gate, delivery.user)  # type: ignore[arg-type] # it has one
    return found


def _asked(gate: Gate, user: Any) -> dict[str, Any]:
    """What the person is asked to allow, as it is now, and the addresses of the pages on which they answer."""
    schema = registry.schema(gate.run.workflow, gate.run.version)
    shown = masking.masked(schema, {one.name: one.value for one in gate.arguments()})
    follows = consequences(gate)
    link = links.issue(gate, user)
    page = ("gate-detail", gate.pk) if link is None else ("link-detail", links.token_of(link))
    url = settings.HOLDFAST_URL + reverse(page[0], args=page[1:])
    tapped = [verdict for verdict in links.TAPPED if link is not None and verdict in gate.verdicts]
    buttons = [(verdict, f"{url}?verdict={verdict}", follows.get(verdict, "")) for verdict in tapped]
    return {
        "url": url,
        "action": wording.line((gate.action or {}).get("name", ""), 200),
        "arguments": [(wording.line(name, 100), wording.line(value, ARGUMENT)) for name, value in shown.items()],
        "outside": outside(gate),
        "buttons": buttons,
        "rendered": agent_markdown.render(visible(gate.summary[:2000])),
        "summary": [visible(one) for one in gate.summary[:2000].splitlines()],
    }
