"""Writing the journal: one counter, one chain."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from runs import bell, hot
from runs.models import Kind
from workflows import codec

# The link is made by PostgreSQL under the row's lock, from the digest as it then is (docs/concepts.md, "digest").
NEXT_LINK = "sha256(digest || int8send(seq + 1) || %(content_hash)s)"

_RECORD = f"""
WITH moved AS (
    UPDATE runs_run SET seq = seq + 1, digest = {NEXT_LINK}, updated_at = holdfast_now()
    WHERE id = %(run)s RETURNING seq, digest
), told AS (
    INSERT INTO runs_notice (run_id, seq, due_at)
    SELECT %(run)s, seq, holdfast_now() + %(tells_after)s * interval '1 s' FROM moved WHERE %(tells)s
)
INSERT INTO runs_event (run_id, seq, kind, step, attempt, by, detail, started_at, at, content_hash, digest)
SELECT %(run)s, moved.seq, %(kind)s, %(step)s, %(attempt)s, %(by)s, %(detail)s, %(started_at)s, holdfast_now(),
       %(content_hash)s, moved.digest
FROM moved RETURNING seq
"""


# People hear of these (approvals/notifying). Of notes, those of a gate's people; of ends, the bad ones.
TELLING = frozenset(
    {Kind.GATE_OPENED, Kind.GATE_REOPENED, Kind.ESCALATED, Kind.REMINDED, Kind.DECIDED, Kind.GATE_WITHDRAWN}
)  # fmt: skip
TELLING_ACTS = frozenset({"delegate", "comment", "stuck"})
TELLING_ENDS = frozenset({"failed", "rolled_back"})


@dataclass(frozen=True)
class Entry:
    """One event to be written. ``by`` is who acted: a user name, ``policy``, ``sweeper``, or empty."""

    kind: Kind
    step: str = ""
    attempt: int | None = None
    by: str = ""
    detail: Any = None
    started_at: Any = None
    tells_after: int = 0  # seconds for which it may still be taken back; then people hear of it

    @property
    def tells(self) -> bool:
        """Whether people are to hear of it."""
        detail = self.detail or {}
        if "took_back" in detail:  # within that time: nothing has happened
            return False
        if self.kind == Kind.NOTE:
            return detail.get("act") in TELLING_ACTS
        return self.kind in TELLING or (self.kind == Kind.ENDED and detail.get("status") in TELLING_ENDS)

    def stored(self) -> dict[str, Any]:
        """The columns, with the content hash over the bytes as they are stored."""
        detail = codec.dumps({} if self.detail is None else self.detail).decode()
        return {
            "kind": str(self.kind),
            "step": self.step,
            "attempt": self.attempt,
            "by": self.by,
            "detail": detail,
            "started_at": self.started_at,
            "content_hash": event_hash(str(self.kind), self.step, self.attempt, self.by, detail),
        }


def record(run_id: uuid.UUID, entry: Entry) -> int:
    """Append one event to the run's journal and return its ``seq``. Call it in the transaction of the fact itself."""
    row = hot.one(_RECORD, {"run": run_id, "tells": entry.tells, "tells_after": entry.tells_after, **entry.stored()})
    if row is None:
        raise LookupError(f"run {run_id} is gone")
    if entry.tells and not entry.tells_after:
        bell.tell_on_commit()
    return int(row[0])


def link(digest: bytes, seq: int, content_hash: bytes) -> bytes:
    """The digest of an entry: SHA-256 over the one before, its ``seq`` in 8 bytes, and the hash of its content."""
    return hashlib.sha256(digest + seq.to_bytes(8, "big") + content_hash).digest()


def event_hash(kind: str, step: str, attempt: int | None, by: str, detail: str) -> bytes:
    """The content hash of an event, over its text as stored."""
    return content_hash([kind, step, attempt, by, detail])


def content_hash(parts: list[Any], *blobs: bytes | None) -> bytes:
    """SHA-256 over the JSON of ``parts`` and each blob, every one preceded by its length in 8 bytes."""
    digest = hashlib.sha256()
    for blob in (codec.dumps(parts), *blobs):
        digest.update(len(blob or b"").to_bytes(8, "big") + (blob or b""))
    return digest.digest()
