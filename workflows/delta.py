"""What a step changed in the state, as data that Holdfast alone makes and replays: no author's reducer runs on reading.

A delta is ``{"set": {field: value}, "append": {field: [items]}, "patch": {field: edit}}`` without empty parts. The edit of a
list or a text is ``{"at": index, "cut": count, "put": items or text}``, of an object ``{"put": {key: value}, "drop": [keys]}``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from workflows import codec

Delta = dict[str, Any]
Edit = dict[str, Any]
WORTH_IT = 512  # bytes (of a text: characters) below which the whole value is stored
GAIN = 0.7  # an edit must be smaller than this part of the whole value


def add(delta: Delta, name: str, old: Any, new: Any, *, appended: bool = False) -> None:
    """Add to ``delta`` that the field became ``new``; ``appended``: a reducer put items behind the ``old`` ones."""
    if appended and isinstance(old, list) and new[: len(old)] == old:
        delta.setdefault("append", {})[name] = new[len(old) :]
    elif (found := edit(old, new)) is not None:
        delta.setdefault("patch", {})[name] = found
    else:
        delta.setdefault("set", {})[name] = new


def edit(old: Any, new: Any) -> Edit | None:
    """How ``old`` becomes ``new``; None where the whole new value is hardly longer to store."""
    if isinstance(old, str) and isinstance(new, str):
        return _spliced(old, new, new, len(new))
    if isinstance(old, list) and isinstance(new, list):
        after = [codec.dumps(item) for item in new]
        return _spliced([codec.dumps(item) for item in old], after, new, sum(map(len, after)))
    if isinstance(old, dict) and isinstance(new, dict):
        return _edited_object(old, new)
    return None


def edited(value: Any, found: Mapping[str, Any]) -> Any:
    """``value`` with one edit. Raises KeyError, TypeError or ValueError where it does not fit."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in found["drop"]}
        return {**kept, **found["put"]}
    at, cut = found["at"], found["cut"]
    if not 0 <= at <= at + cut <= len(value):
        raise ValueError("an edit lies outside of the value that it changes")
    return value[:at] + found["put"] + value[at + cut :]


def _spliced(old: Sequence[Any], new: Sequence[Any], put: Sequence[Any], size: int) -> Edit | None:
    """One splice: what lies between the common start and the common end. ``put`` is where its new part is taken from."""
    if size < WORTH_IT:
        return None
    at = _common(old, new, min(len(old), len(new)), 1)
    tail = _common(old, new, min(len(old), len(new)) - at, -1)
    end = len(new) - tail
    changed = end - at if isinstance(new, str) else sum(len(item) for item in new[at:end])
    if changed > GAIN * size:
        return None
    return {"at": at, "cut": len(old) - tail - at, "put": put[at:end]}


def _common(old: Sequence[Any], new: Sequence[Any], most: int, step: int) -> int:
    """How many items, at most ``most``, are the same from the start (``step`` 1) or from the end (-1).

    Halves are compared as wholes, which is far quicker than a loop over the characters of a long text.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        mine, yours = (slice(low, middle), slice(low, middle)) if step > 0 else (
            slice(len(old) - middle, len(old) - low), slice(len(new) - middle, len(new) - low))  # fmt: skip
        if old[mine] == new[yours]:
            low = middle
        else:
            high = middle - 1
    return low


def _edited_object(old: Mapping[str, Any], new: Mapping[str, Any]) -> Edit | None:
    put = {key: value for key, value in new.items() if key not in old or not codec.same(old[key], value)}
    drop = [key for key in old if key not in new]
    if list(edited(old, {"put": put, "drop": drop})) != list(new):  # its keys would come back in another order
        return None
    size = len(codec.dumps(new))
    return {"put": put, "drop": drop} if size >= WORTH_IT and len(codec.dumps(put)) <= GAIN * size else None
