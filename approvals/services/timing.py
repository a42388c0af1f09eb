"""When a gate's clock runs out, and when it reminds before that."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from workflows.hours import WorkingHours


def clock(policy: Mapping[str, Any], begin: datetime, seconds: float | None) -> dict[str, Any]:
    """A level's ``due_at``, ``reminders`` and ``remind_at``, where ``seconds`` of the policy's time begin at ``begin``."""
    if seconds is None:
        return {"due_at": None, "reminders": [], "remind_at": None}
    reminders = [after(policy, begin, seconds - before) for before in policy.get("remind", ()) if before < seconds]
    return {"due_at": after(policy, begin, seconds), **coming(sorted(reminders))}


def coming(reminders: list[datetime]) -> dict[str, Any]:
    """The reminders that are still to come, and the first of them."""
    return {"reminders": reminders, "remind_at": reminders[0] if reminders else None}


def after(policy: Mapping[str, Any], begin: datetime, seconds: float) -> datetime:
    """The moment at which so much of the policy's time has passed."""
    hours = policy.get("hours")
    return WorkingHours.from_json(hours).after(begin, seconds) if hours else begin + timedelta(seconds=seconds)
