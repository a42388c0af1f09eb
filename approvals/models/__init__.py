"""Gates, the decisions made at them, the people who share the work, and how they are reached."""

from approvals.models.channel import Channel, ChannelKind, ChannelQuerySet, Occasion
from approvals.models.decision import AGREED, ANY, Decision, Verdict
from approvals.models.delivery import Delivery, DeliveryQuerySet, DeliveryState, Try
from approvals.models.gate import Argument, Gate, GateKind, GateQuerySet, GateStatus, Risk, in_words
from approvals.models.link import Link
from approvals.models.people import Absence, Delegation, Snooze
from approvals.models.policy_change import PolicyChange
from approvals.models.preference import ChatAccount, Pace, Preference

__all__ = [
    "AGREED",
    "ANY",
    "Absence",
    "Argument",
    "Channel",
    "ChannelKind",
    "ChannelQuerySet",
    "ChatAccount",
    "Decision",
    "Delegation",
    "Delivery",
    "DeliveryQuerySet",
    "DeliveryState",
    "Gate",
    "GateKind",
    "GateQuerySet",
    "GateStatus",
    "Link",
    "Occasion",
    "Pace",
    "PolicyChange",
    "Preference",
    "Risk",
    "Snooze",
    "Try",
    "Verdict",
    "in_words",
]
