"""Writing and reading states: deltas, keyframes, and the proof that they are as they were written."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from checkpoints import blob
from checkpoints.models import Checkpoint
from runs import hot, places
from runs.services import journal
from workflows import codec
from workflows.state import Change

LARGEST = 2**62  # beyond any seq, within a bigint
KEYFRAME_EVERY = 64  # checkpoints; bounds the rows that any state is read from
OUTGROWN = 4  # times the last keyframe's size, in deltas since: bounds the bytes that any state is read from
SMALL = 4096  # bytes of deltas that are never worth a keyframe


class HistoryBroken(Exception):
    """A stored checkpoint is not as it was written. It is never resumed from silently."""

    def __init__(self, run_id: uuid.UUID, seq: int, why: str) -> None:
        self.run_id, self.seq = run_id, seq
        super().__init__(f"The history of run {run_id} is broken at seq {seq}: {why}")


class CheckpointMissing(LookupError):
    """There is no checkpoint at or before that seq."""


@dataclass
class Since:
    """What has been written since the last keyframe; decides when the next one is due."""

    count: int = 0
    size: int = 0  # bytes
    keyframe: int = 0  # bytes of that keyframe

    def add(self, delta: bytes) -> None:
        self.count += 1
        self.size += len(delta)

    @property
    def is_enough(self) -> bool:
        return self.count >= KEYFRAME_EVERY or self.size > max(SMALL, OUTGROWN * self.keyframe)


@dataclass(frozen=True)
class Packed:
    """One checkpoint's columns, ready for the boundary statement."""

    delta: bytes
    keyframe: bytes | None
    content_hash: bytes


@dataclass(frozen=True)
class Loaded:
    """A state as plain JSON, as of one checkpoint."""

    seq: int
    schema_version: int
    values: dict[str, Any]
    since: Since


def pack(
    *, step: str, visit: int, attempt: int, schema_version: int, delta: Mapping[str, Any], values: Mapping[str, Any],
    since: Since, usage: Any = None, logs: str | None = None, keyframe: bool = False,
) -> Packed:  # fmt: skip
    """Pack a checkpoint. A keyframe is added when asked for, after 64 deltas, or when these outgrow the last one."""
    packed = blob.pack(delta)
    since.add(packed)
    frame: bytes | None = None
    if keyframe or since.is_enough:
        frame = blob.pack(values)
        since.count, since.size, since.keyframe = 0, 0, len(frame)
    return Packed(packed, frame, hash_of(step, visit, attempt, schema_version, usage, logs, packed, frame))


def hash_of(
    step: str, visit: int, attempt: int, schema_version: int, usage: Any, logs: str | None, delta: bytes,
    keyframe: bytes | None,
) -> bytes:  # fmt: skip
    """The content hash of a checkpoint, over its bytes as stored (usage is compared as a value: jsonb rewrites text)."""
    cost = sorted((usage or {}).items())
    return journal.content_hash(["checkpoint", step, visit, attempt, schema_version, cost, logs], delta, keyframe)


# The keyframe at or before the wanted seq, and every checkpoint after it: at most KEYFRAME_EVERY rows.
_KEYFRAME = """
    SELECT seq FROM checkpoints_checkpoint
    WHERE run_id = %(run)s AND seq <= %(seq)s AND keyframe IS NOT NULL ORDER BY seq DESC LIMIT 1
"""
_LOAD = f"""
SELECT seq, content_hash, digest, step, visit, attempt, schema_version, usage, logs, delta, keyframe
FROM checkpoints_checkpoint WHERE run_id = %(run)s AND seq <= %(seq)s AND seq >= ({_KEYFRAME})
"""
# The same with the events in between, which the chain needs: they have no delta.
READ_PROVEN = f"""
{_LOAD}
UNION ALL
SELECT seq, content_hash, digest, '', 0, 0, 0, NULL, NULL, NULL, NULL
FROM runs_event WHERE run_id = %(run)s AND seq <= %(seq)s AND seq >= ({_KEYFRAME})
ORDER BY seq
"""


def load(run_id: uuid.UUID, seq: int) -> Loaded:
    """The state at the checkpoint at or before ``seq``. Raises CheckpointMissing or HistoryBroken."""
    return replayed(run_id, hot.rows(f"{_LOAD} ORDER BY seq", {"run": run_id, "seq": min(seq, LARGEST)}))


def proven(run_id: uuid.UUID, rows: list[Any], head: bytes) -> Loaded:
    """The state from the rows of READ_PROVEN, each of which must follow from the one before, the last being ``head``.

    A row that was taken out, put in or rewritten whole is found. Raises HistoryBroken.
    """
    if not rows:
        raise HistoryBroken(run_id, 0, "no checkpoint with a whole state is left")
    loaded = replayed(run_id, [row for row in rows if row[9] is not None])
    digest, expected = bytes(rows[0][2]), rows[0][0] + 1
    for seq, content_hash, stored, *_ in rows[1:]:
        if seq != expected:
            raise HistoryBroken(run_id, expected, "the entry is gone")
        digest = hashlib.sha256(digest + seq.to_bytes(8, "big") + bytes(content_hash)).digest()
        if digest != bytes(stored):
            raise HistoryBroken(run_id, seq, "its digest does not follow from the entries before it")
        expected = seq + 1
    if digest != head:
        raise HistoryBroken(run_id, expected - 1, "the last digest is not the run's")
    return loaded


def replayed(run_id: uuid.UUID, rows: list[Any]) -> Loaded:
    """The state from the rows of a load, each of which must match its hash."""
    if not rows:
        raise CheckpointMissing(f"run {run_id} has no such checkpoint")
    values: dict[str, Any] = {}
    since = Since()
    for number, (at, stored, _, step, visit, attempt, version, usage, logs, delta, keyframe) in enumerate(rows):
        usage = codec.loads(usage) if isinstance(usage, str) else usage
        delta, keyframe = bytes(delta), None if keyframe is None else bytes(keyframe)
        if hash_of(step, visit, attempt, version, usage, logs, delta, keyframe) != bytes(stored):
            raise HistoryBroken(run_id, at, "its content does not match its hash")
        try:
            if number == 0:
                values = blob.unpack(keyframe or b"")
                since.keyframe = len(keyframe or b"")
            else:
                values = replay(values, blob.unpack(delta))
                since.add(delta)
        except (ValueError, KeyError, TypeError) as error:
            raise HistoryBroken(run_id, at, str(error)) from None
    return Loaded(rows[-1][0], rows[-1][6], values, since)


def replay(values: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """The state after ``delta``, which Holdfast alone understands: no author's reducer runs here."""
    after = dict(values)
    for name, value in delta.get("set", {}).items():
        after[name] = value
    for name, items in delta.get("append", {}).items():
        after[name] = [*after[name], *items]
    return after


# In the transaction that locked the run: one checkpoint outside the worker's boundary (the input, a decided gate).
_WRITE = f"""
WITH moved AS (
    UPDATE runs_run SET seq = seq + 1, digest = {journal.NEXT_LINK}, updated_at = holdfast_now()
    WHERE id = %(run)s RETURNING seq, digest
)
INSERT INTO checkpoints_checkpoint
    (run_id, seq, step, visit, attempt, schema_version, delta, keyframe, usage, logs, started_at, at, content_hash, digest)
SELECT %(run)s, moved.seq, %(step)s, %(visit)s, %(attempt)s, %(schema_version)s, %(delta)s, %(keyframe)s,
       %(usage)s::jsonb, %(logs)s, %(started_at)s, holdfast_now(), %(content_hash)s, moved.digest
FROM moved RETURNING seq
"""


def write(
    run_id: uuid.UUID, packed: Packed, *, step: str, visit: int, attempt: int, schema_version: int,
    started_at: Any = None, usage: Any = None, logs: str | None = None,
) -> int:  # fmt: skip
    """Append a checkpoint to the run's history and return its seq."""
    values = {
        "run": run_id,
        "step": step,
        "visit": visit,
        "attempt": attempt,
        "schema_version": schema_version,
        "delta": packed.delta,
        "keyframe": packed.keyframe,
        "content_hash": packed.content_hash,
        "started_at": started_at,
        "usage": None if usage is None else codec.dumps(usage).decode(),
        "logs": logs,
    }
    return int(hot.one(_WRITE, values)[0])


class Placed(places.Placed, Protocol):
    """Where a run stands."""

    id: uuid.UUID


def write_change(
    run: Placed, schema_version: int, change: Change | None, since: Since, *, usage: Any = None, logs: str | None = None,
    started_at: Any = None, step: str | None = None,
) -> int:  # fmt: skip
    """Append what was changed (None: nothing) as the checkpoint of the run's current step; its seq.

    ``step=""``: no step made the change, a person did.
    """
    place: dict[str, Any] = {
        "step": run.step if step is None else step,
        "visit": run.visit,
        "attempt": run.attempt,
        "schema_version": schema_version,
        "usage": usage,
        "logs": logs,
    }
    packed = pack(**place, delta=change.delta if change else {}, values=change.values if change else {}, since=since)
    return write(run.id, packed, **place, started_at=started_at)


def find(run_id: uuid.UUID, seq: int) -> Checkpoint:
    """The checkpoint at or before ``seq``. Raises CheckpointMissing."""
    found = Checkpoint.objects.filter(run_id=run_id).at_or_before(min(seq, LARGEST)).first()
    if found is None:
        raise CheckpointMissing(f"run {run_id} has no checkpoint at or before seq {seq}")
    return found
