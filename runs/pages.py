"""Keyset pages: a cursor names the last row seen, so that a page costs the same at any depth."""

import base64
import binascii
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

LIMIT = 200


class CursorInvalid(ValueError):
    """The cursor was not made by this API."""


def page(rows: "QuerySet[Any]", *, key: str, cursor: str | None, limit: int) -> tuple[list[Any], str | None]:
    """Up to ``limit`` rows, newest ``key`` first, and the cursor of the next page. ``id`` breaks ties."""
    if cursor:
        at, pk = _decode(cursor)
        rows = rows.filter(Q(**{f"{key}__lt": at}) | Q(**{key: at, "pk__lt": pk}))
    found = list(rows.order_by(f"-{key}", "-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return found, _encode(getattr(found[-1], key).isoformat(), found[-1].pk) if more else None


def _encode(at: str, pk: Any) -> str:
    return base64.urlsafe_b64encode(f"{at}|{pk}".encode()).decode()


def _decode(cursor: str) -> tuple[str, str]:
    try:
        at, _, pk = base64.urlsafe_b64decode(cursor.encode()).decode().partition("|")
        datetime.fromisoformat(at)
        UUID(pk)
    except (ValueError, binascii.Error):
        raise CursorInvalid("cursor: take it from “next” of the page before") from None
    return at, pk
