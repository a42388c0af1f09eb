"""Orders of the list of runs, and its pages: a cursor names a row, so that a page costs the same at any depth, both ways."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q

from runs.clock import database_now
from runs.models import Run, RunQuerySet
from runs.terms import TOKENS, took

USUAL = "-started"
PAGE = 50
CURSOR = 400  # characters; ours are shorter


@dataclass(frozen=True)
class Key:
    """What is sorted by: a field or annotation, how it is read back from a cursor, and how it is said."""

    field: str
    read: Callable[[Any], Any]
    words: str
    annotation: Callable[[datetime], Any] | None = None  # as of then


KEYS = {
    "started": Key("created_at", datetime.fromisoformat, "started"),
    "changed": Key("updated_at", datetime.fromisoformat, "last changed"),
    "cost": Key("cost_usd", Decimal, "cost"),
    "tokens": Key("all_tokens", int, "tokens", lambda now: TOKENS),
    "took": Key("all_took", lambda seconds: timedelta(seconds=float(seconds)), "how long it took", took),
}
ORDERS = {f"{sign}{name}": key for name, key in KEYS.items() for sign in ("-", "")}


@dataclass(frozen=True)
class Page:
    """Rows in their order, and the cursors of the pages before and after; None where there is none."""

    runs: list[Run]
    newer: str | None
    older: str | None


def page(runs: RunQuerySet, *, order: str = USUAL, cursor: str = "", limit: int = PAGE) -> Page:
    """The page that ``cursor`` leads to; a cursor that is none of ours leads to the first."""
    key = ORDERS[order if order in ORDERS else USUAL]
    down = not order or order.startswith("-")
    place = _read(cursor, key)
    now = place[3] if place is not None else database_now()
    runs = runs.annotate(**{key.field: key.annotation(now)}) if key.annotation is not None else runs
    back = place is not None and place[0] == "before"
    falling = down != back  # the direction in which rows are fetched
    if place is not None:
        _, value, pk, _ = place
        sign = "lt" if falling else "gt"
        runs = runs.filter(Q(**{f"{key.field}__{sign}": value}) | Q(**{key.field: value, f"pk__{sign}": pk}))
    field = f"-{key.field}" if falling else key.field
    found = list(runs.order_by(field, "-pk" if falling else "pk")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if back:
        found.reverse()
    if not found:
        return Page([], None, None)
    before = _write("before", getattr(found[0], key.field), found[0].pk, now) if (more if back else place is not None) else None
    after = _write("after", getattr(found[-1], key.field), found[-1].pk, now) if (more if not back else True) else None
    return Page(found, before, after)


def _write(way: str, value: Any, pk: UUID, now: datetime) -> str:
    plain: float | str
    if isinstance(value, datetime):
        plain = value.isoformat()
    else:
        plain = value.total_seconds() if isinstance(value, timedelta) else str(value)
    return base64.urlsafe_b64encode(json.dumps([way, plain, str(pk), now.isoformat()]).encode()).decode()


def _read(cursor: str, key: Key) -> tuple[str, Any, UUID, datetime] | None:
    if len(cursor) > CURSOR:
        return None
    try:
        way, plain, pk, now = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        value = key.read(plain)
        if way not in ("before", "after") or (isinstance(value, Decimal) and not 0 <= value < 10**12):
            return None
        return way, value, UUID(pk), datetime.fromisoformat(now)
    except (ValueError, TypeError, ArithmeticError, binascii.Error, AttributeError):
        return None
