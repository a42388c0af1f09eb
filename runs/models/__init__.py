"""Runs, their branches and events, what was signalled to them, and what people did. Checkpoints are the next app's."""

from runs.models.audit import Act, AuditEntry, AuditHead, AuditQuerySet
from runs.models.branch import Branch, FanOut
from runs.models.event import LASTING, Event, Kind, entry_as_json
from runs.models.hold import WorkflowHold
from runs.models.notice import Notice
from runs.models.run import Run, RunQuerySet, new_id
from runs.models.signal import Signal

__all__ = [
    "LASTING",
    "Act",
    "AuditEntry",
    "AuditHead",
    "AuditQuerySet",
    "Branch",
    "Event",
    "FanOut",
    "Kind",
    "Notice",
    "Run",
    "RunQuerySet",
    "Signal",
    "WorkflowHold",
    "entry_as_json",
    "new_id",
]
