"""Writing the audit: what a person did, through which door, what they saw and what they changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runs import doors
from runs.clock import database_now
from runs.models import Act, AuditEntry, Run
from runs.services.journal import content_hash
from workflows import codec

LIMIT = 64 * 1024  # bytes of what was seen or changed; what is longer is named by its hash


def record(
    by: Any,
    act: Act,
    *,
    run: Run | None = None,
    gate: Any = None,
    decision_id: int | None = None,
    subject: str = "",
    reason: str = "",
    seen: Mapping[str, Any] | None = None,
    changed: Mapping[str, Any] | None = None,
    channel: str = "",
    at: datetime | None = None,
) -> AuditEntry:
    """Append one act. Call it in the transaction of the act itself.

    ``by`` is the person; ``gate`` has an ``id`` and a ``title``. ``channel`` is that of the door they came
    through, unless it is said.
    """
    door = doors.door_of(by)
    detail = {name: _limited(value) for name, value in (("seen", seen), ("changed", changed)) if value is not None}
    entry = AuditEntry(
        at=at or database_now(),
        actor_id=by.pk,
        actor=by.get_username(),
        act=act,
        channel=channel or door.channel,
        address=door.address[:64],
        run_id=run.pk if run else None,
        gate_id=gate.id if gate else None,
        decision_id=decision_id,
        subject=(subject or (gate.title if gate else str(run) if run else ""))[:300],
        reason=reason,
        detail=codec.dumps(detail).decode(),
    )
    entry.content_hash = content_hash(entry.parts())
    entry.save(force_insert=True)
    return entry


def _limited(value: Mapping[str, Any]) -> Any:
    """The value, or what tells it from others where it is too long to be kept twice."""
    packed = codec.dumps(value)
    return value if len(packed) <= LIMIT else {"too_long": len(packed), "sha256": content_hash([packed.decode()]).hex()}


def record_maintenance(command: str, subject: str = "") -> None:
    """What somebody on the host itself did by a command of ours."""
    record(doors.host_user(), Act.MAINTAINED, subject=f"{command} {subject}".strip())
