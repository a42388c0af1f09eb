"""Where one field of the state changed: from what, to what, by which step."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checkpoints import blob, comparing, packing, store
from runs import hot
from runs.models import Run
from workflows import codec, masking, registry
from workflows.masking import MASK, Sealed

SHOWN = 1000  # bytes of JSON of a value that is given whole
PAGE = 1000  # checkpoints read at once
ABSENT = object()

# A small delta is plain JSON, so that PostgreSQL can tell whether it names the field; a compressed one is read in any case.
_CHANGES = f"""
SELECT seq, step, attempt, at, delta, keyframe IS NOT NULL AND seq = 0, schema_version FROM checkpoints_checkpoint
WHERE run_id = %(run)s AND seq > %(after)s AND delta IS NOT NULL
    AND (seq = 0 OR get_byte(delta, 0) & 1 = 1 OR position(%(name)s::bytea IN delta) > 0)
ORDER BY seq LIMIT {PAGE}
"""


class KeyInvalid(ValueError):
    """The text names no place in a state."""


@dataclass
class _Place:
    """The value at the key, as the walk comes along."""

    field: str
    inside: list[str]
    value: Any = ABSENT  # of the whole field

    def there(self) -> Any:
        found = self.value
        for part in self.inside:
            if isinstance(found, dict):
                found = found.get(part, ABSENT)
            elif isinstance(found, list) and part.isascii() and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return ABSENT
        return found


def changes(run: Run, key: str, *, after: int = -1, limit: int = 50) -> tuple[list[dict[str, Any]], int | None]:
    """Up to ``limit`` changes after the checkpoint ``after``, and the ``after`` of the next page.

    ``key`` is a field (``risk``), a path in it (``plan.total``), or a JSON Pointer (``/plan/total``). Raises KeyInvalid,
    HistoryBroken.
    """
    field, *inside = parsed(key)
    place = _Place(field, inside)
    if after >= 0:
        place.value = store.load(run.pk, after).values.get(field, ABSENT)
    secret = field in masking.secret_fields(registry.schema(run.workflow, run.version))
    found: list[dict[str, Any]] = []
    for row, old, new in _walk(run, place, after):
        if len(found) == limit:
            return found, found[-1]["seq"]
        found.append({"seq": row[0], "step": row[1], "attempt": row[2], "at": row[3].isoformat(),
                      **_shown("from", old, secret), **_shown("to", new, secret)})  # fmt: skip
    return found, None


def parsed(key: str) -> list[str]:
    """The parts of a key. Raises KeyInvalid."""
    try:
        found = comparing.parts(key) if key.startswith("/") else [part for part in re.split(r"[.\[\]]+", key) if part]
        codec.check_text(key)
    except ValueError as error:
        raise KeyInvalid(str(error)) from None
    if not found or len(key) > 1000:
        raise KeyInvalid("the name of a field, or a path in one, was expected")
    return found


def _walk(run: Run, place: _Place, after: int) -> Iterator[tuple[Any, Any, Any]]:
    """Each checkpoint that changed the place, with what was there and what is there."""
    needle = codec.dumps(place.field)
    while rows := hot.rows(_CHANGES, {"run": run.pk, "after": after, "name": needle}):
        for row in rows:
            old = place.there()
            if row[0] == 0:  # the input is a keyframe, and changes nothing
                place.value = store.load(run.pk, 0).values.get(place.field, ABSENT)
            else:
                _apply(run, place, row)
            new = place.there()
            if new is not old and not (place.inside and _same(old, new)):  # a delta holds only what has changed
                yield row, old, new
        after = rows[-1][0]


def _apply(run: Run, place: _Place, row: Any) -> None:
    try:
        delta = packing.read(blob.unpack(row[4]))
    except (ValueError, TypeError, AttributeError) as error:
        raise store.HistoryBroken(run.pk, row[0], str(error)) from None
    mine = {how: {place.field: part[place.field]} for how, part in delta.items() if place.field in part}
    if not mine:
        return
    if place.value is ABSENT and "set" not in mine:  # the first that is left after a prune
        place.value = store.load(run.pk, row[0]).values.get(place.field, ABSENT)
        return
    whole: dict[str, dict[str, Any]] = {"set": {}, "append": {}, "patch": {}} | mine
    start: dict[str, dict[str, Any]] = {"set": {place.field: place.value}, "append": {}, "patch": {}}
    place.value = store.folded(run.pk, [(row[0], start), (row[0], whole)])[place.field]


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Sealed) or isinstance(new, Sealed) or old is ABSENT or new is ABSENT:
        return bool(old == new)
    return codec.same(old, new)


def _shown(name: str, value: Any, secret: bool) -> dict[str, Any]:
    """``{name: value}`` of a short one; of a long one None, and its size."""
    if value is ABSENT:
        return {name: None, f"{name}_bytes": 0}
    if isinstance(value, Sealed) or (secret and not masking.is_empty(value)):
        return {name: MASK, f"{name}_bytes": None}
    if isinstance(value, (list, dict, str)) and len(value) > SHOWN:  # how many bytes is not worth writing it all down
        return {name: None, f"{name}_bytes": len(value) if isinstance(value, str) else None}
    size = len(codec.dumps(value))
    return {name: value if size <= SHOWN else None, f"{name}_bytes": size}
