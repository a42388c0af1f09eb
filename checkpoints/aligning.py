"""Aligning two sequences: what stayed the same is found by items that occur once in both, so that no input makes it slow.

Patience sorting, as ``git diff --patience`` has it: O(n log n), and what lies between two anchors is compared place by place.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

CLOSELY = 2500  # pairs of items between two anchors up to which they are aligned in the costlier way

Block = tuple[int, int, int, int]


def changed_blocks(old: Sequence[Any], new: Sequence[Any]) -> Iterator[Block]:
    """``(i1, i2, j1, j2)``: where ``old[i1:i2]`` became ``new[j1:j2]``; all else is the same, in order."""
    i = j = 0
    for anchor_i, anchor_j in [*_anchors(old, new), (len(old), len(new))]:
        yield from _between(old, new, (i, anchor_i, j, anchor_j))
        i, j = anchor_i + 1, anchor_j + 1


def _anchors(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[int, int]]:
    """The longest run of items that are unique in both and stand in the same order."""
    in_old, in_new = Counter(old), Counter(new)
    where = {item: at for at, item in enumerate(new) if in_new[item] == 1}
    pairs = [(at, where[item]) for at, item in enumerate(old) if in_old[item] == 1 and item in where]
    ends: list[int] = []  # the smallest place in ``new`` at which a run of each length ends
    last: list[int] = []  # the pair that has it
    before: list[int] = []
    for number, (_, at) in enumerate(pairs):
        length = bisect_left(ends, at)
        before.append(last[length - 1] if length else -1)
        if length == len(ends):
            ends.append(at)
            last.append(number)
        else:
            ends[length], last[length] = at, number
    found: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _between(old: Sequence[Any], new: Sequence[Any], block: Block) -> Iterator[Block]:
    i1, i2, j1, j2 = block
    while i1 < i2 and j1 < j2 and old[i1] == new[j1]:
        i1, j1 = i1 + 1, j1 + 1
    while i1 < i2 and j1 < j2 and old[i2 - 1] == new[j2 - 1]:
        i2, j2 = i2 - 1, j2 - 1
    if i1 == i2 and j1 == j2:
        return
    if not 0 < (i2 - i1) * (j2 - j1) <= CLOSELY:
        yield i1, i2, j1, j2
        return
    matcher = SequenceMatcher(None, old[i1:i2], new[j1:j2], autojunk=False)
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        if tag != "equal":
            yield i1 + a1, i1 + a2, j1 + b1, j1 + b2
