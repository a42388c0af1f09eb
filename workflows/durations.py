"""Durations as authors write them: seconds, ``"30s"``, ``"15m"``, ``"24h"``, ``"7d"`` or a timedelta."""

import math
import re
from datetime import timedelta

Duration = float | int | str | timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(value: Duration) -> float:
    """The length of ``value`` in seconds. Raises ValueError that says what was expected."""
    if isinstance(value, timedelta):
        length = value.total_seconds()
    elif isinstance(value, str):
        match = _TEXT.fullmatch(value.strip())
        if match is None:
            raise ValueError(f'{value!r} is no duration; write a number of seconds, "30s", "15m", "24h" or "7d"')
        length = float(match[1]) * _UNITS[match[2]]
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f'{value!r} is no duration; write a number of seconds, "30s", "15m", "24h" or "7d"')
    else:
        length = float(value)
    if not math.isfinite(length) or length < 0:
        raise ValueError(f"{value!r} is no duration: it must be finite and not negative")
    return length


def exact(length: float) -> str:
    """``length`` seconds as a person reads it, nothing rounded: ``4200`` → ``"1 h 10 m"``."""
    parts, rest = [], length
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if rest >= size:
            parts.append(f"{int(rest // size)} {unit}")
            rest %= size
    return " ".join([*parts, f"{rest:g} s"] if rest or not parts else parts)


def words(length: float) -> str:
    """``length`` seconds in the largest unit that fits, as a person reads it: ``90`` → ``"1.5 m"``."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if length >= size:
            return f"{length / size:.1f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{length:.1f}".rstrip("0").rstrip(".") + " s"
