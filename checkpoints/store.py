"""Writing checkpoints and reading states, with the proof that they are as they were written."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from checkpoints import blob, contents, packing
from checkpoints.contents import Parts
from checkpoints.models import Checkpoint
from checkpoints.packing import Packed, Since
from runs import hot, places
from runs.services import journal
from workflows import codec, delta
from workflows.state import Change, State

LARGEST = 2**62  # beyond any seq, within a bigint


class HistoryBroken(Exception):
    """A stored entry is not as it was written. It is never resumed from silently."""

    def __init__(self, run_id: uuid.UUID, seq: int, why: str) -> None:
        self.run_id, self.seq, self.why = run_id, seq, why
        super().__init__(f"The history of run {run_id} is broken at seq {seq}: {why}.")


class CheckpointMissing(LookupError):
    """There is no checkpoint at or before that seq."""


class StatePruned(CheckpointMissing):
    """There was one, and the workflow's retention has removed its state."""


@dataclass(frozen=True)
class Loaded:
    """A state as plain JSON, as of one checkpoint; a secret value is Sealed in it."""

    seq: int
    schema_version: int
    values: dict[str, Any]
    since: Since


COLUMNS = """seq, content_hash, digest, step, visit, attempt, schema_version, usage, logs, delta, keyframe, next_step,
    reused_from"""
NO_COLUMNS = "'', 0, 0, 0, NULL::jsonb, NULL, NULL::bytea, NULL::bytea, '', NULL::bigint"  # of an event, in their place
# The keyframe at or before the wanted seq, and every checkpoint after it: at most KEYFRAME_EVERY rows.
_KEYFRAME = """
    SELECT seq FROM checkpoints_checkpoint
    WHERE run_id = %(run)s AND seq <= %(seq)s AND keyframe IS NOT NULL ORDER BY seq DESC LIMIT 1
"""
_LOAD = f"""
SELECT {COLUMNS}, true AS is_checkpoint
FROM checkpoints_checkpoint WHERE run_id = %(run)s AND seq <= %(seq)s AND seq >= ({_KEYFRAME})
"""
# The same with the events in between, which the chain needs: they have no delta.
READ_PROVEN = f"""
{_LOAD}
UNION ALL
SELECT seq, content_hash, digest, {NO_COLUMNS}, false
FROM runs_event WHERE run_id = %(run)s AND seq <= %(seq)s AND seq >= ({_KEYFRAME})
ORDER BY seq
"""


class Row:
    """One row of ``COLUMNS``, and whether it is a checkpoint."""

    __slots__ = ("columns", "content_hash", "digest", "is_checkpoint", "seq", "usage")

    def __init__(self, row: Any) -> None:
        self.seq, self.content_hash, self.digest = row[0], bytes(row[1]), bytes(row[2])
        self.usage = codec.loads(row[7]) if isinstance(row[7], str) else row[7]
        self.columns = {
            "step": row[3],
            "visit": row[4],
            "attempt": row[5],
            "schema_version": row[6],
            "logs": row[8],
            "delta": None if row[9] is None else bytes(row[9]),
            "keyframe": None if row[10] is None else bytes(row[10]),
            "next_step": row[11],
            "reused_from": row[12],
        }
        self.is_checkpoint = row[13]

    def is_as_written(self) -> bool:
        return packing.hash_of(self.columns, self.usage) == self.content_hash

    def follows(self, digest: bytes) -> bool:
        """Whether its digest is made from the one before."""
        return journal.link(digest, self.seq, self.content_hash) == self.digest


def load(run_id: uuid.UUID, seq: int) -> Loaded:
    """The state at the checkpoint at or before ``seq``. Raises CheckpointMissing, StatePruned, HistoryBroken."""
    rows = [Row(row) for row in hot.rows(f"{_LOAD} ORDER BY seq", {"run": run_id, "seq": min(seq, LARGEST)})]
    return _replayed(run_id, rows, seq)


def proven(run_id: uuid.UUID, rows: list[Any], head: bytes) -> Loaded:
    """The state from the rows of READ_PROVEN, each of which must follow from the one before, the last being ``head``.

    A row that was taken out, put in or rewritten whole is found. Raises HistoryBroken.
    """
    found = [Row(row) for row in rows]
    if not found:
        raise HistoryBroken(run_id, 0, "no checkpoint with a whole state is left")
    loaded = _replayed(run_id, [row for row in found if row.is_checkpoint], LARGEST)
    last = found[0]
    for row in found[1:]:
        if row.seq != last.seq + 1:
            raise HistoryBroken(run_id, last.seq + 1, "the entry is gone")
        if not row.follows(last.digest):
            raise HistoryBroken(run_id, row.seq, "its digest does not follow from the entries before it")
        last = row
    if last.digest != head:
        raise HistoryBroken(run_id, last.seq, "the last digest is not the run's")
    return loaded


def _replayed(run_id: uuid.UUID, rows: list[Row], seq: int) -> Loaded:
    """The state from a keyframe and the deltas after it, each of which must match its hash."""
    if not rows:
        if Checkpoint.objects.filter(run_id=run_id, seq__lte=min(seq, LARGEST)).exists():
            raise StatePruned(f"the state of run {run_id} at seq {seq} was pruned, as its workflow's retention says")
        raise CheckpointMissing(f"run {run_id} has no such checkpoint")
    since, deltas = Since(), list[tuple[int, dict[str, dict[str, Any]]]]()
    for number, row in enumerate(rows):
        if not row.is_as_written():
            raise HistoryBroken(run_id, row.seq, "its content does not match its hash")
        stored = row.columns["keyframe"] if number == 0 else row.columns["delta"]
        try:
            found = packing.read(blob.unpack(stored or b""))
        except (ValueError, TypeError, AttributeError) as error:
            raise HistoryBroken(run_id, row.seq, str(error)) from None
        parts = [value for how in ("set", "append") for value in found[how].values() if isinstance(value, Parts)]
        size = len(stored) + sum(one.size for one in parts)
        since.known.update(one for part in parts for one in part.hashes)
        since.version = row.columns["schema_version"]
        if number == 0:
            since.keyframe = size
        else:
            since.add(size)
        deltas.append((row.seq, found))
    last = rows[-1]
    return Loaded(last.seq, last.columns["schema_version"], folded(run_id, deltas), since)


Deltas = Iterable[tuple[int, Mapping[str, Mapping[str, Any]]]]


def folded(run_id: uuid.UUID, deltas: Deltas) -> dict[str, Any]:
    """The values after all ``deltas`` (seq and delta), the first of which makes the state from nothing.

    Of large values only the pieces that are still part of the state are read. Raises HistoryBroken.
    """
    made: dict[str, list[tuple[int, str, Any]]] = {}  # by field: what is left to be done since it was last set as a whole
    for seq, one in deltas:
        for name, value in one["set"].items():
            made[name] = [(seq, "set", value)]
        for how in ("append", "patch"):
            for name, value in one[how].items():
                made.setdefault(name, []).append((seq, how, value))
    wanted = {h for todo in made.values() for _, _, value in todo if isinstance(value, Parts) for h in value.hashes}
    pieces = contents.fetch(run_id, wanted)
    return {name: _made(run_id, name, todo, pieces) for name, todo in made.items()}


def _made(run_id: uuid.UUID, name: str, todo: list[tuple[int, str, Any]], pieces: Mapping[str, bytes]) -> Any:
    value: Any = None
    for number, (seq, how, stored) in enumerate(todo):
        try:
            given = stored.put_together(pieces) if isinstance(stored, Parts) else stored
            if how == "set":
                value = given
            elif number == 0:
                raise ValueError(f"{name!r} was changed before it was set")
            elif how == "append":
                value = [*value, *given]
            else:
                value = delta.edited(value, given)
        except KeyError as error:
            raise HistoryBroken(run_id, seq, f"a piece of {name!r} is gone, or altered: {error}") from None
        except (ValueError, TypeError) as error:
            raise HistoryBroken(run_id, seq, str(error)) from None
    return value


# In the transaction that locked the run: one checkpoint outside the worker's boundary (the input, a decided gate).
_WRITE = f"""
WITH moved AS (
    UPDATE runs_run SET seq = seq + 1, digest = {journal.NEXT_LINK}, updated_at = holdfast_now()
    WHERE id = %(run)s RETURNING seq, digest
)
INSERT INTO checkpoints_checkpoint (run_id, seq, step, visit, attempt, schema_version, next_step, reused_from, delta, keyframe,
    usage, logs, started_at, at, content_hash, digest)
SELECT %(run)s, moved.seq, %(step)s, %(visit)s, %(attempt)s, %(schema_version)s, %(next_step)s, %(reused_from)s, %(delta)s,
       %(keyframe)s, %(usage)s::jsonb, %(logs)s, %(started_at)s, holdfast_now(), %(content_hash)s, moved.digest
FROM moved RETURNING seq
"""


def write(run_id: uuid.UUID, packed: Packed, *, started_at: Any = None) -> int:
    """Append a checkpoint to the run's history and return its seq."""
    for statement, values in contents.to_store(run_id, packed.pieces):
        hot.rows(statement, values)
    return int(hot.one(_WRITE, {"run": run_id, "started_at": started_at, **packed.columns})[0])


class Placed(places.Placed, Protocol):
    """Where a run stands."""

    @property
    def id(self) -> uuid.UUID: ...


def write_change(
    run: Placed, kind: type[State], change: Change | None, since: Since, *, next_step: str, usage: Any = None,
    logs: str | None = None, started_at: Any = None, step: str | None = None,
) -> int:  # fmt: skip
    """Append what was changed (None: nothing) as the checkpoint of the run's current step; its seq.

    ``step=""``: no step made the change, a person did.
    """
    step = run.step if step is None else step
    packed = packing.pack(run.id, kind, run, change, since, next_step=next_step, step=step, usage=usage, logs=logs)
    return write(run.id, packed, started_at=started_at)


def unread(run_id: uuid.UUID) -> Since:
    """For a checkpoint that changes nothing, so that the state need not be read: only its schema version is known."""
    rows = Checkpoint.objects.filter(run_id=run_id).order_by("-seq").values_list("schema_version", flat=True)
    return Since(version=rows.first())


def find(run_id: uuid.UUID, seq: int) -> Checkpoint:
    """The checkpoint at or before ``seq``. Raises CheckpointMissing."""
    found = Checkpoint.objects.filter(run_id=run_id).at_or_before(min(seq, LARGEST)).first()
    if found is None:
        raise CheckpointMissing(f"run {run_id} has no checkpoint at or before seq {seq}")
    return found
