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
    ROLL_BACK = "roll_back"


class BranchStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.CANCELLED, Status.ROLLED_BACK})
UNFINISHED = frozenset(Status) - FINAL
AT_WORK = frozenset({Status.RUNNING, Status.ROLLING_BACK})  # a worker may have it

# A run in fan-out is running, or waiting where only people can move its branches, and in nobody's hands. One that rolls back
# keeps its status while a worker has it; held, or waiting at an undo gate, it knows by ``rolls_back_from`` where to return.
MOVES: dict[str, tuple[frozenset[Status], Status]] = {
    "claim": (frozenset({Status.QUEUED}), Status.RUNNING),
    "advance": (frozenset({Status.RUNNING}), Status.RUNNING),
    "wait": (AT_WORK, Status.WAITING),
    "resume": (frozenset({Status.WAITING}), Status.QUEUED),
    "wait_again": (frozenset({Status.QUEUED}), Status.WAITING),
    "put_back": (frozenset({Status.RUNNING}), Status.QUEUED),
    "hold": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING, Status.ROLLING_BACK}), Status.HELD),
    "release": (frozenset({Status.HELD}), Status.QUEUED),
    "release_to_wait": (frozenset({Status.HELD}), Status.WAITING),
    "succeed": (frozenset({Status.RUNNING}), Status.SUCCEEDED),
    "fail": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING, Status.HELD, Status.ROLLING_BACK}), Status.FAILED),
    "reject": (frozenset({Status.RUNNING, Status.WAITING, Status.HELD}), Status.REJECTED),
    "cancel": (frozenset({Status.RUNNING, Status.QUEUED, Status.WAITING, Status.HELD}), Status.CANCELLED),
    "retry": (frozenset({Status.FAILED}), Status.QUEUED),
    "fan_out": (frozenset({Status.RUNNING}), Status.RUNNING),
    "branches_move": (frozenset({Status.WAITING, Status.HELD, Status.FAILED}), Status.RUNNING),
    "branches_wait": (frozenset({Status.RUNNING, Status.HELD, Status.FAILED}), Status.WAITING),
    "join": (frozenset({Status.RUNNING, Status.WAITING, Status.HELD, Status.FAILED}), Status.QUEUED),
    "roll_back": (UNFINISHED - {Status.ROLLING_BACK} | FINAL - {Status.ROLLED_BACK}, Status.ROLLING_BACK),
    "put_back_undo": (frozenset({Status.ROLLING_BACK}), Status.ROLLING_BACK),
    "go_on_undoing": (frozenset({Status.WAITING, Status.HELD}), Status.ROLLING_BACK),
    "finish_undoing": (frozenset({Status.ROLLING_BACK}), Status.ROLLED_BACK),
}

BRANCH_FINAL = frozenset({BranchStatus.SUCCEEDED, BranchStatus.FAILED})
BRANCH_MOVES: dict[str, tuple[frozenset[BranchStatus], BranchStatus]] = {
    "put_back": (frozenset({BranchStatus.RUNNING}), BranchStatus.QUEUED),
    "wait": (frozenset({BranchStatus.RUNNING}), BranchStatus.WAITING),
    "resume": (frozenset({BranchStatus.WAITING}), BranchStatus.QUEUED),
    "wait_again": (frozenset({BranchStatus.QUEUED}), BranchStatus.WAITING),
    "finish": (frozenset({BranchStatus.RUNNING, BranchStatus.WAITING}), BranchStatus.SUCCEEDED),
    "fail": (frozenset({BranchStatus.RUNNING, BranchStatus.WAITING, BranchStatus.QUEUED}), BranchStatus.FAILED),
    "retry": (frozenset({BranchStatus.FAILED}), BranchStatus.QUEUED),
    "ask_again": (frozenset({BranchStatus.FAILED}), BranchStatus.WAITING),
}
