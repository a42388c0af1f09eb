"""Differences as a page shows them."""

from dataclasses import dataclass
from typing import Any

from checkpoints import inspect, store, text_diff
from checkpoints.comparing import Difference
from checkpoints.models import Checkpoint
from checkpoints.tree import Node
from runs.models import Run
from workflows import codec
from workflows.masking import MASK

MOST = 200  # differences on a page
CLOSELY = 20  # of which long texts are compared in themselves
FEW = 12  # beside a state
SHORT = 80  # characters of a text that need no comparing in itself
WHOLE = 2000  # characters of a value that is shown as a whole


@dataclass(frozen=True)
class Shown:
    """One difference. ``segments``: of two long texts, how one becomes the other."""

    spelled: str
    kind: str
    old: str
    new: str
    segments: list[text_diff.Segment]

    @property
    def is_masked(self) -> bool:
        return MASK in (self.old, self.new)


def shown(found: list[Difference]) -> list[Shown]:
    """The first of them, for people; of the very first, texts are compared in themselves."""
    return [_shown(one, closely=number < CLOSELY) for number, one in enumerate(found[:MOST])]


def changes_of(run: Run, row: Checkpoint) -> tuple[list[Shown], int]:
    """What the step changed, from the state before it, and how many places that are. Empty where nothing is known of it."""
    if row.seq == 0 or row.delta is None:
        return [], 0
    try:
        found = inspect.compare(run, row.seq - 1, run, row.seq)[2]
        return shown(found), len(found)
    except (store.HistoryBroken, store.CheckpointMissing):
        return [], 0


def _shown(one: Difference, *, closely: bool) -> Shown:
    spelled = Node("", one.old_path or one.path, "").spelled
    texts = isinstance(one.old, str) and isinstance(one.new, str) and max(len(one.old), len(one.new)) > SHORT
    segments = text_diff.segments(one.old, one.new) if texts and closely and one.kind == "changed" else []
    return Shown(spelled, one.kind, _text(one.old), _text(one.new), segments)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else codec.dumps(value).decode()
    return text if len(text) <= WHOLE else f"{text[:WHOLE]}… ({len(text):,} characters)"
