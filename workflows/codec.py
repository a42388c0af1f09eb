"""JSON as Holdfast stores it: strict, canonical, and never anything but JSON."""

import json
from typing import Any

TEXT_LIMIT = 64 * 1024  # bytes of an error text or a traceback
CUT = " … (cut)"
NUL = "a NUL character cannot be stored; remove it"
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=True).encode


def dumps(value: Any) -> bytes:
    """UTF-8 JSON. Raises ValueError for what JSON or PostgreSQL cannot hold: NaN, infinities, NUL, lone surrogates."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from None
    if "\\u0000" in text and _has_nul(value):
        raise ValueError(NUL)
    return _as_bytes(text)


def check_text(text: str) -> None:
    """Refuses of a string what ``dumps`` would, without making its JSON."""
    if "\0" in text:
        raise ValueError(NUL)
    _as_bytes(text)


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate cannot be stored; it is no Unicode character") from None


def loads(data: bytes | str) -> Any:
    """The JSON value. Raises ValueError. NaN and infinities, which Python's reader would take, are refused."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def same(a: Any, b: Any) -> bool:
    """Whether two plain JSON values would be stored the same (``1``, ``1.0`` and ``true`` differ)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return repr(a) == repr(b)  # 0.0 and -0.0 differ
    if isinstance(a, (str, int, bool, type(None))):
        return bool(a == b)
    return bool(a == b) and dumps(a) == dumps(b)  # the first is quick to say no


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(_has_nul(item) for item in value)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    return "NaN and infinities are not JSON" if "not JSON compliant" in text else text


def clean(text: str) -> str:
    """A text from outside as PostgreSQL can hold it: no NUL, no lone surrogate, at most 64 KB."""
    data = text.replace("\0", "␀").encode(errors="replace")
    if len(data) > TEXT_LIMIT:
        data = data[:TEXT_LIMIT] + CUT.encode()
    return data.decode(errors="replace")
