"""How one text becomes another, as people read it: words within the lines that changed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from checkpoints import aligning

LONGEST = 200_000  # characters of both texts together, beyond which they are shown as a whole
AROUND = 80  # characters of what stayed the same that are shown on either side of a change


@dataclass(frozen=True)
class Segment:
    """``how``: same, out, in. ``left_out``: characters of what stayed the same that are not shown before it."""

    how: str
    text: str
    left_out: int = 0


def segments(old: str, new: str) -> list[Segment]:
    """The pieces in order; long stretches that stayed the same are cut."""
    if len(old) + len(new) > LONGEST:
        return [Segment("out", old), Segment("in", new)]
    pieces = [one for one in _compared(_tokens(old), _tokens(new)) if one.text]
    return [one for number, piece in enumerate(pieces) for one in _shown(piece, number == 0, number == len(pieces) - 1)]


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def _compared(before: list[str], after: list[str]) -> Iterator[Segment]:
    at = 0
    for i1, i2, j1, j2 in aligning.changed_blocks(before, after):
        yield Segment("same", "".join(before[at:i1]))
        yield Segment("out", "".join(before[i1:i2]))
        yield Segment("in", "".join(after[j1:j2]))
        at = i2
    yield Segment("same", "".join(before[at:]))


def _shown(piece: Segment, is_first: bool, is_last: bool) -> Iterator[Segment]:
    text = piece.text
    if piece.how != "same" or len(text) <= 3 * AROUND:
        yield piece
        return
    head, tail = "" if is_first else text[:AROUND], "" if is_last else text[-AROUND:]
    if head:
        yield Segment("same", head)
    yield Segment("same", tail, len(text) - len(head) - len(tail))
