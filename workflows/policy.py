"""Who may decide a gate, by when, and what happens otherwise."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.durations import Duration, seconds

TIMEOUTS = ("reject", "approve", "fail", "keep")
_APPROVER = re.compile(r"(user|group|role):([\w.@+-]+(?: [\w.@+-]+)*)")


@dataclass(frozen=True)
class Escalation:
    """At the timeout, ``approvers`` may decide too; after ``timeout`` more, ``then`` happens."""

    approvers: tuple[str, ...]
    timeout: Duration
    then: "str | Escalation" = "reject"


def escalate(approvers: Sequence[str], *, timeout: Duration, then: str | Escalation = "reject") -> Escalation:
    """What a policy does at its timeout: add approvers (none is removed) and start a new clock of ``timeout``."""
    _check_approvers(approvers)
    _check_timeout(then)
    if not approvers or seconds(timeout) == 0:
        raise ValueError("escalate() needs at least one approver and a timeout")
    return Escalation(tuple(approvers), timeout, then)


@dataclass(frozen=True)
class Policy:
    """Who decides: ``user:name``, ``group:name`` or ``role:name``. With nobody named, admins decide.

    ``quorum`` different people must approve; one rejection ends it. ``allow_self=False`` bars whoever started the run.
    After ``timeout`` happens ``on_timeout``: ``reject``, ``approve``, ``fail``, ``keep`` (goes on waiting), or
    ``escalate(…)``. ``remind`` are times before the deadline.
    """

    approvers: Sequence[str] = ()
    quorum: int = 1
    allow_self: bool = True
    timeout: Duration | None = None
    on_timeout: str | Escalation = "reject"
    remind: Sequence[Duration] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if isinstance(self.approvers, str):
            raise ValueError(f"approvers={self.approvers!r}: a list was expected, such as [{self.approvers!r}]")
        _check_approvers(self.approvers)
        _check_timeout(self.on_timeout)
        if isinstance(self.quorum, bool) or not isinstance(self.quorum, int) or self.quorum < 1:
            raise ValueError(f"quorum={self.quorum!r}: a whole number from 1 was expected")
        users = {name for name in self.approvers if name.startswith("user:")}
        if self.approvers and len(users) == len(self.approvers) < self.quorum:
            raise ValueError(f"quorum={self.quorum} can never be met by {len(users)} approver(s)")
        if self.timeout is not None and seconds(self.timeout) == 0:
            raise ValueError("timeout=0 would end the gate before anyone sees it")
        if self.timeout is None and not isinstance(self.on_timeout, str):
            raise ValueError("on_timeout=escalate(…) needs a timeout")
        for duration in self.remind:
            seconds(duration)

    def as_json(self) -> dict[str, Any]:
        """The policy as a gate keeps it: plain JSON, durations in seconds."""
        return {
            "approvers": list(self.approvers),
            "quorum": self.quorum,
            "allow_self": self.allow_self,
            "timeout": None if self.timeout is None else seconds(self.timeout),
            "on_timeout": _timeout_as_json(self.on_timeout),
            "remind": [seconds(duration) for duration in self.remind],
        }


def _timeout_as_json(choice: str | Escalation) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {
        "escalate": list(choice.approvers),
        "timeout": seconds(choice.timeout),
        "then": _timeout_as_json(choice.then),
    }


def _check_approvers(approvers: Sequence[str]) -> None:
    for name in approvers:
        if not isinstance(name, str) or not _APPROVER.fullmatch(name):
            raise ValueError(f"approver {name!r} is malformed; write 'user:bob', 'group:finance' or 'role:operator'")


def _check_timeout(choice: object) -> None:
    if choice not in TIMEOUTS and not isinstance(choice, Escalation):
        raise ValueError(f"{choice!r} is no timeout choice; write one of {', '.join(TIMEOUTS)}, or escalate(…)")
