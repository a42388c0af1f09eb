"""Gates, the decisions made at them, and the people who share the work."""

from approvals.models.decision import AGREED, ANY, Decision, Verdict
from approvals.models.gate import Argument, Gate, GateKind, GateQuerySet, GateStatus, Risk, in_words
from approvals.models.people import Absence, Delegation, Snooze
from approvals.models.policy_change import PolicyChange

__all__ = [
    "AGREED",
    "ANY",
    "Absence",
    "Argument",
    "Decision",
    "Delegation",
    "Gate",
    "GateKind",
    "GateQuerySet",
    "GateStatus",
    "PolicyChange",
    "Risk",
    "Snooze",
    "Verdict",
    "in_words",
]
