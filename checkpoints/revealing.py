"""Showing a secret to somebody who may see it; the journal says who saw which, and why."""

from typing import Any

from django.db import transaction

from checkpoints import sealing, store
from runs.access import require
from runs.models import Act, Kind
from runs.services import audit, journal, moves
from workflows import masking, registry

REASON_LIMIT = 2000  # characters


class NotSecret(ValueError):
    """The field is not a secret of that state."""


@transaction.atomic
def reveal(run_id: Any, seq: int, field: str, *, by: Any, reason: str) -> Any:
    """The secret's value at the checkpoint at or before ``seq``; that it was revealed is committed before it is shown.

    Raises NotPermitted (only admins), NotSecret, SecretsLocked, CheckpointMissing, HistoryBroken.
    """
    require(by, "administer")
    if len(reason) > REASON_LIMIT or "\0" in reason:
        raise NotSecret(f"reason: text of at most {REASON_LIMIT} characters, without NUL, was expected")
    run = moves.lock(run_id)
    loaded = store.load(run.pk, seq)
    value = loaded.values.get(field)
    is_secret = field in masking.secret_fields(registry.schema(run.workflow, run.version))
    if not isinstance(value, masking.Sealed) and not (is_secret and not masking.is_empty(value)):
        raise NotSecret(f"field: {field[:100]!r} is no secret at seq {loaded.seq}")
    if isinstance(value, masking.Sealed):
        value = sealing.unseal(run.pk, field, value)
    detail = {"text": f"looked at the secret {field!r} as of seq {loaded.seq}", "reason": reason}
    moves.record(run, journal.Entry(Kind.NOTE, "", None, by.get_username(), detail))
    moves.poke_on_commit(run)
    audit.record(
        by, Act.REVEALED, run=run, subject=f"{field} of {run}", reason=reason, seen={"field": field, "seq": loaded.seq}
    )
    return value
