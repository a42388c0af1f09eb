"""Runs, their branches, their journal's events, and what was signalled to them. Checkpoints are the next app's."""

from runs.models.branch import Branch, FanOut
from runs.models.event import LASTING, Event, Kind, entry_as_json
from runs.models.hold import WorkflowHold
from runs.models.run import Run, RunQuerySet, new_id
from runs.models.signal import Signal

__all__ = [
    "LASTING",
    "Branch",
    "Event",
    "FanOut",
    "Kind",
    "Run",
    "RunQuerySet",
    "Signal",
    "WorkflowHold",
    "entry_as_json",
    "new_id",
]
