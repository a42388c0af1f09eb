"""How one text becomes another, as people read it: words where that is possible, else lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

WORDS = 4000  # of both texts together, up to which words are compared; beyond that lines
LINES = 4000  # up to which lines are; beyond that the texts are shown as a whole
AROUND = 80  # characters of what stayed the same that are shown on either side of a change


@dataclass(frozen=True)
class Segment:
    """``how``: same, out, in. ``left_out``: characters of what stayed the same that are not shown before it."""

    how: str
    text: str
    left_out: int = 0


def segments(old: str, new: str) -> list[Segment]:
    """The pieces in order; long stretches that stayed the same are cut."""
    before, after = _tokens(old, new)
    if before is None or after is None:
        return [Segment("out", old), Segment("in", new)]
    found: list[Segment] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = "".join(before[i1:i2]), "".join(after[j1:j2])
        if tag == "equal":
            found += _same(gone, is_first=i1 == 0, is_last=i2 == len(before))
        else:
            found += [Segment(how, text) for how, text in (("out", gone), ("in", come)) if text]
    return found


def _tokens(old: str, new: str) -> tuple[list[str] | None, list[str] | None]:
    words = [re.findall(r"\w+|\s+|[^\w\s]", text) for text in (old, new)] if len(old) + len(new) < 10 * WORDS else None
    if words is not None and len(words[0]) + len(words[1]) <= WORDS:
        return words[0], words[1]
    lines = [text.splitlines(keepends=True) for text in (old, new)]
    if len(lines[0]) + len(lines[1]) <= LINES and min(map(len, lines)) > 1:
        return lines[0], lines[1]
    return None, None


def _same(text: str, *, is_first: bool, is_last: bool) -> Iterator[Segment]:
    if len(text) <= 3 * AROUND:
        yield Segment("same", text)
        return
    head, tail = "" if is_first else text[:AROUND], "" if is_last else text[-AROUND:]
    if head:
        yield Segment("same", head)
    yield Segment("same", tail, len(text) - len(head) - len(tail))
