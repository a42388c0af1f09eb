"""Why a decision, or another act at a gate, is not taken."""

from approvals.models import Gate
from runs.invalid import FieldsInvalid


class Refused(Exception):
    """An act that was not taken. ``gate`` is the gate as it now is."""

    def __init__(self, gate: Gate, text: str) -> None:
        self.gate = gate
        super().__init__(text)


class GateClosed(Refused):
    """Somebody, or the policy, was first, or the gate was withdrawn."""


class GateChanged(Refused):
    """The proposal is no longer the one that the decider saw."""


class AlreadyVoted(Refused):
    """This person's vote is in already."""


class AlreadyClaimed(Refused):
    """Somebody else is on it."""


class TooLate(Refused):
    """The decision can be taken back no more: what follows it has begun."""


class NotYours(Refused):
    """The policy does not name this person."""


class NotConfirmed(Refused):
    """A gate of high risk wants the password once more."""


class InvalidDecision(FieldsInvalid):
    """The decision itself is malformed."""
