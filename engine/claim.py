"""Taking a run: one UPDATE that names the worker and counts the claim, and the state read in the same transaction."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from checkpoints import store
from runs import hot
from workflows import codec


@dataclass
class Claimed:
    """A run in a worker's hands, as of its last boundary. The worker keeps it up to date by what boundaries return."""

    id: uuid.UUID
    workflow: str
    version: str
    step: str
    visit: int
    attempt: int
    failures: int
    losses: int
    boundary: int
    claim: int
    worker: int
    seq: int
    requested: str
    started_at: datetime
    doubt_at: datetime | None
    doubt_reason: str
    saved: Any
    cost_usd: Decimal
    digest: bytes
    steps_allowed: int | None
    cost_allowed: Decimal | None


# ``AND status = 'queued'`` stands beside the lock: a run that somebody took meanwhile is passed over.
_CLAIM = """
UPDATE runs_run SET
    status = 'running', worker = %(worker)s, claim = claim + 1, boundary = boundary + 1,
    started_at = coalesce(started_at, holdfast_now()), updated_at = holdfast_now(),
    step_started_at = CASE WHEN requested = '' THEN holdfast_now() END
WHERE status = 'queued' AND id = {which}
RETURNING id, workflow, version, step, visit, attempt, failures, losses, boundary, claim, worker, seq, requested,
    holdfast_now(), doubt_at, doubt_reason, saved, cost_usd, digest,
    steps_allowed, cost_allowed
"""
_HINTED = _CLAIM.format(
    which="""(SELECT id FROM runs_run WHERE id = %(hint)s AND status = 'queued' AND available_at <= holdfast_now()
              FOR NO KEY UPDATE SKIP LOCKED)"""
)
_OLDEST = _CLAIM.format(
    which="""(SELECT id FROM runs_run WHERE status = 'queued' AND available_at <= holdfast_now()
              ORDER BY available_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)"""
)
_OTHERS_DUE = "SELECT EXISTS (SELECT FROM runs_run WHERE status = 'queued' AND available_at <= holdfast_now())"


def take(hint: uuid.UUID | None, worker: int) -> tuple[Claimed, store.Loaded | store.HistoryBroken] | None:
    """Claim the hinted run, or else the one that has been due longest, and read its state. None: nothing is due.

    The state is read by a statement of its own, for one snapshot could hold a claimed row and an older history.
    """
    with transaction.atomic():
        row = hot.one(_HINTED, {"worker": worker, "hint": hint}) if hint is not None else None
        if row is None:
            row = hot.one(_OLDEST, {"worker": worker})
        if row is None:
            return None
        claimed = Claimed(*row)
        if isinstance(claimed.saved, str):  # Django has its connections read jsonb as text
            claimed.saved = codec.loads(claimed.saved)
        try:
            return claimed, store.load(claimed.id, claimed.seq, head=bytes(claimed.digest))
        except store.HistoryBroken as error:
            return claimed, error


def others_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS_DUE)
        return bool(cursor.fetchone()[0])
