"""Errors as RFC 9457 problem documents."""

import json
from typing import Any

from django.http import HttpResponse

CONTENT_TYPE = "application/problem+json"


def problem(status: int, kind: str, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """``type`` is stable: ``kind`` is what a client tells errors apart by."""
    body = {"type": kind, "title": title, "status": status, "detail": detail, **more}
    return HttpResponse(json.dumps(body, default=str), status=status, content_type=CONTENT_TYPE)
