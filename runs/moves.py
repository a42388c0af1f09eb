"""The states of a run and the moves between them: the one table that every write of ``status`` is built from."""

from django.db import models


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


class Requested(models.TextChoices):
    NOTHING = ""
    CANCEL = "cancel"
    HOLD = "hold"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.CANCELLED, Status.ROLLED_BACK})
UNFINISHED = frozenset(Status) - FINAL

MOVES: dict[str, tuple[frozenset[Status], Status]] = {
    "claim": (frozenset({Status.QUEUED}), Status.RUNNING),
    "advance": (frozenset({Status.RUNNING}), Status.RUNNING),
    "wait": (frozenset({Status.RUNNING}), Status.WAITING),
    "resume": (frozenset({Status.WAITING}), Status.QUEUED),
    "put_back": (frozenset({Status.RUNNING}), Status.QUEUED),
    "hold": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING}), Status.HELD),
    "release": (frozenset({Status.HELD}), Status.QUEUED),
    "release_to_wait": (frozenset({Status.HELD}), Status.WAITING),
    "succeed": (frozenset({Status.RUNNING}), Status.SUCCEEDED),
    "fail": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING, Status.HELD}), Status.FAILED),
    "reject": (frozenset({Status.RUNNING, Status.WAITING, Status.HELD}), Status.REJECTED),
    "cancel": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING, Status.HELD}), Status.CANCELLED),
    "retry": (frozenset({Status.FAILED}), Status.QUEUED),
}
