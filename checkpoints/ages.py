"""How old what a state says is: when each field was last changed."""

import uuid
from collections.abc import Iterable
from datetime import datetime

from checkpoints import blob, packing
from checkpoints.models import Checkpoint

LOOKED_AT = 500  # checkpoints, from the newest back


def last_changed(run_id: uuid.UUID, names: Iterable[str], until: int) -> dict[str, datetime]:
    """When each of the fields was last changed at or before the seq ``until``, or set by the input.

    One that was left alone for the last 500 checkpoints is left out.
    """
    wanted, found = set(names), dict[str, datetime]()
    rows = Checkpoint.objects.filter(run=run_id, seq__lte=until).order_by("-seq").values_list("seq", "at", "delta")
    for seq, at, delta in rows[:LOOKED_AT] if wanted else ():
        changed = wanted if seq == 0 else _names(delta) & wanted
        found |= dict.fromkeys(changed, at)
        wanted = wanted - changed
        if not wanted:
            break
    return found


def _names(delta: bytes | memoryview | None) -> set[str]:
    if delta is None:  # pruned
        return set()
    try:
        return {name for part in packing.read(blob.unpack(bytes(delta))).values() for name in part}
    except (ValueError, TypeError, AttributeError):
        return set()  # a broken history is told of elsewhere
