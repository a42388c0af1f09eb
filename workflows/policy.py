"""Who may decide a gate, by when, and what happens otherwise."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workflows.durations import Duration, seconds
from workflows.hours import WorkingHours

TIMEOUTS = ("reject", "approve", "fail", "keep")
LINKS = ("signed_in", "bearer")
RISKS = ("low", "normal", "high")
WORDED = ("approve", "edit", "reject")  # verdicts of which a policy may want a comment
LEVELS = 20  # of escalation at most
LONGEST = 3650 * 86400.0  # seconds
GROUPS = 8  # groups at most that may have a quorum each
_APPROVER = re.compile(r"(user|group|role):([\w.@+-]+(?: [\w.@+-]+)*)")
Approvers = Sequence[str] | Callable[..., Sequence[str]]


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
    if not approvers or not 0 < seconds(timeout) <= LONGEST:
        raise ValueError("escalate() needs at least one approver and a timeout of at most ten years")
    return Escalation(tuple(approvers), timeout, then)


@dataclass(frozen=True)
class Policy:
    """Who decides: ``user:name``, ``group:name`` or ``role:name``, or a function of the state that returns such names.
    With nobody named, admins decide.

    ``quorum`` different people must approve, or so many of each group: ``{"group:finance": 1, "group:legal": 2}``, where one
    person counts for one group. ``veto`` rejections end it. ``allow_self=False`` bars whoever started the run;
    ``distinct_from`` names gates whose approvers may not approve this one too. ``comment`` names the verdicts (approve, edit,
    reject) that need words. ``risk`` orders the inbox; at ``high`` the password is asked for again, unless
    ``reauthenticate`` says otherwise. ``allow_bypass=False`` keeps admins from deciding alone.

    After ``timeout`` happens ``on_timeout``: ``reject``, ``approve``, ``fail``, ``keep`` (goes on waiting, and reminds once
    per timeout), or ``escalate(…)``. ``remind`` are times before the deadline of each level. With ``hours`` the clock runs in
    working hours only. ``notify`` names channels that hear of the gate beside those that hear of everything. A link sent to an
    approver works for them alone, signed in; ``links="bearer"``: for whoever has it, in the approver's name. ``name``:
    by which an admin may override it (default: the gate's). Raises ValueError.
    """

    approvers: Approvers = ()
    quorum: int | Mapping[str, int] = 1
    allow_self: bool = True
    timeout: Duration | None = None
    on_timeout: str | Escalation = "reject"
    remind: Sequence[Duration] = field(default_factory=tuple)
    name: str = ""
    veto: int = 1
    distinct_from: Sequence[str] = ()
    comment: Sequence[str] = ()
    risk: str = "normal"
    reauthenticate: bool | None = None
    allow_bypass: bool = True
    hours: WorkingHours | None = None
    notify: Sequence[str] = ()
    links: str = "signed_in"

    def __post_init__(self) -> None:
        for name in ("approvers", "distinct_from", "comment", "remind", "notify"):
            if isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name}={value!r}: a list was expected, such as [{value!r}]")
        _check_timeout(self.on_timeout)
        _check_count("veto", self.veto)
        self._check_counts()
        if not callable(self.approvers):
            _check_approvers(self.approvers)
            self._check_quorum(self.approvers)
        if self.timeout is not None and not 0 < seconds(self.timeout) <= LONGEST:
            raise ValueError(f"timeout={self.timeout!r}: more than nothing, and at most ten years, was expected")
        if self.timeout is None and not isinstance(self.on_timeout, str):
            raise ValueError("on_timeout=escalate(…) needs a timeout")
        if not set(self.comment) <= set(WORDED):
            raise ValueError(f"comment={list(self.comment)!r}: a list of {', '.join(WORDED)} was expected")
        if self.risk not in RISKS:
            raise ValueError(f"risk={self.risk!r}: one of {', '.join(RISKS)} was expected")
        if self.links not in LINKS:
            raise ValueError(f"links={self.links!r}: one of {', '.join(LINKS)} was expected")
        if not all(isinstance(name, str) for name in self.notify):
            raise ValueError(f"notify={list(self.notify)!r}: names of channels were expected")
        if self.hours is not None and not isinstance(self.hours, WorkingHours):
            raise ValueError(f"hours={self.hours!r}: WorkingHours(…) was expected")
        if not isinstance(self.name, str) or len(self.name) > 200:
            raise ValueError(f"name={self.name!r}: a text of at most 200 characters was expected")
        for duration in self.remind:
            seconds(duration)

    @property
    def needed(self) -> int:
        """How many different people must approve."""
        return self.quorum if isinstance(self.quorum, int) else sum(self.quorum.values())

    def resolved(self, approvers: Any) -> "Policy":
        """The policy with what its function of the state has returned. Raises ValueError."""
        if isinstance(approvers, (str, Mapping)) or not isinstance(approvers, Sequence):
            raise ValueError(f"approvers returned {approvers!r}; a list such as ['group:finance'] was expected")
        return replace(self, approvers=tuple(approvers))

    def as_json(self) -> dict[str, Any]:
        """The policy as a gate keeps it: plain JSON, durations in seconds; approvers that a function names are None."""
        return {
            "name": self.name,
            "approvers": None if callable(self.approvers) else list(self.approvers),
            "quorum": self.quorum if isinstance(self.quorum, int) else dict(self.quorum),
            "veto": self.veto,
            "allow_self": self.allow_self,
            "distinct_from": list(self.distinct_from),
            "comment": list(self.comment),
            "risk": self.risk,
            "reauthenticate": self.risk == "high" if self.reauthenticate is None else self.reauthenticate,
            "allow_bypass": self.allow_bypass,
            "timeout": None if self.timeout is None else seconds(self.timeout),
            "on_timeout": _timeout_as_json(self.on_timeout),
            "remind": sorted((seconds(duration) for duration in self.remind), reverse=True),
            "hours": None if self.hours is None else self.hours.as_json(),
            "notify": list(self.notify),
            "links": self.links,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Policy":
        """The policy that ``as_json`` was called on; what is left out has its default. Raises ValueError, TypeError."""
        known = dict(given)
        if known.get("approvers") is None:
            known["approvers"] = _named_by_the_workflow
        if known.get("hours") is not None:
            known["hours"] = WorkingHours.from_json(known["hours"])
        if "on_timeout" in known:
            known["on_timeout"] = _timeout_from_json(known["on_timeout"])
        return cls(**known)

    def _check_counts(self) -> None:
        if not isinstance(self.quorum, Mapping):
            return _check_count("quorum", self.quorum)
        if not 1 <= len(self.quorum) <= GROUPS:
            raise ValueError(f"quorum of {len(self.quorum)} groups: 1 to {GROUPS} were expected")
        for name, count in self.quorum.items():
            _check_count(f"quorum of {name!r}", count)

    def _check_quorum(self, approvers: Sequence[str]) -> None:
        if isinstance(self.quorum, Mapping):
            for name in self.quorum:
                if name not in approvers or str(name).startswith("user:"):
                    raise ValueError(f"quorum names {name!r}, which is no group or role among the approvers")
            return
        users = {name for name in approvers if name.startswith("user:")}
        if approvers and len(users) == len(approvers) < self.quorum:
            raise ValueError(f"quorum={self.quorum} can never be met by {len(users)} approver(s)")


def _named_by_the_workflow(state: Any) -> Sequence[str]:
    raise AssertionError("the workflow's own function names the approvers")


def _timeout_as_json(choice: str | Escalation) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {
        "escalate": list(choice.approvers),
        "timeout": seconds(choice.timeout),
        "then": _timeout_as_json(choice.then),
    }


def _timeout_from_json(choice: Any, level: int = 1) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    if level > LEVELS:
        raise ValueError(f"more than {LEVELS} levels of escalation")
    return escalate(choice["escalate"], timeout=choice["timeout"], then=_timeout_from_json(choice["then"], level + 1))


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(f"{name}={value!r}: a whole number from 1 was expected")


def _check_approvers(approvers: Sequence[str]) -> None:
    for name in approvers:
        if not isinstance(name, str) or not _APPROVER.fullmatch(name):
            raise ValueError(f"approver {name!r} is malformed; write 'user:bob', 'group:finance' or 'role:operator'")


def _check_timeout(choice: object) -> None:
    if choice not in TIMEOUTS and not isinstance(choice, Escalation):
        raise ValueError(f"{choice!r} is no timeout choice; write one of {', '.join(TIMEOUTS)}, or escalate(…)")
