"""What the demo's mailbox has kept: the messages that people would have got."""

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from demo import mailbox
from runs.access import may

NAME = re.compile(r"[0-9]{10,25}\.eml")


@login_required
def message_list(request: HttpRequest) -> HttpResponse:
    folder = _folder()
    kept = mailbox.messages(folder) if folder.exists() else []
    heads = [(name, mailbox.at(name), _head(one)) for name, one in kept if _may_read(request, one)]
    return render(request, "demo/mail.html", {"messages_kept": heads, "administers": may(request.user, "administer")})


@login_required
def message_detail(request: HttpRequest, name: str) -> HttpResponse:
    """The message as HTML, or as text."""
    if not NAME.fullmatch(name):
        raise Http404
    try:
        found = mailbox.read(_folder(), name)
    except OSError:
        raise Http404 from None
    if not _may_read(request, found):
        raise Http404
    kind = "plain" if "text" in request.GET else "html"
    part = found.get_body((kind,))
    return HttpResponse(part.get_content() if part else "", content_type=f"text/{kind}; charset=utf-8")


def _may_read(request: HttpRequest, one: Any) -> bool:
    """One's own; admins everybody's."""
    return may(request.user, "administer") or str(one["to"]) == request.user.email  # type: ignore[union-attr] # signed in


def _head(one: Any) -> dict[str, str]:
    return {name: str(one[name]) for name in ("subject", "to")}


def _folder() -> Path:
    return Path(settings.HOLDFAST_DATA_DIR) / "mail"
