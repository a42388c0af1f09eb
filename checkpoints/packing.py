"""Packing a checkpoint: its delta, now and then a keyframe, large values apart, secret ones sealed.

A *record* is a delta as it is stored: ``{"set", "append", "patch"}`` of the small values, ``{"set_parts", "append_parts"}``
of the large ones, ``"sealed"`` of the secret ones, without empty members. A keyframe is the record that makes the state from
nothing.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from checkpoints import blob, contents, sealing
from checkpoints.contents import Parts
from runs.places import Placed
from runs.services import journal
from workflows import codec
from workflows.masking import Sealed, is_empty, secret_fields
from workflows.state import Change, State

KEYFRAME_EVERY = 32  # checkpoints; bounds the rows that any state is read from
OUTGROWN = 4  # times the last keyframe's size, in deltas since: bounds the bytes that any state is read from
SMALL = 4096  # bytes of deltas that are never worth a keyframe
HERE = ""  # ``next_step`` of a checkpoint in the middle of a step: nothing can begin there


@dataclass
class Since:
    """What has been written since the last keyframe; decides when the next one is due."""

    version: int | None = None  # of the schema that the state is stored with
    count: int = 0
    size: int = 0  # bytes
    keyframe: int = 0  # bytes of that keyframe
    known: set[str] = field(default_factory=set)  # hashes of pieces that are stored

    def add(self, size: int) -> None:
        self.count += 1
        self.size += size

    def copy(self) -> "Since":
        return replace(self, known=set(self.known))

    @property
    def is_enough(self) -> bool:
        return self.count >= KEYFRAME_EVERY or self.size > max(SMALL, OUTGROWN * self.keyframe)


@dataclass(frozen=True)
class Packed:
    """One checkpoint's columns, ready for the statement that inserts it, and the pieces that are to be stored with it."""

    columns: Mapping[str, Any]
    pieces: Mapping[str, bytes]


def pack(
    run_id: uuid.UUID, kind: type[State], place: Placed, change: Change | None, since: Since, *, next_step: str, step: str,
    usage: Any = None, logs: str | None = None, keyframe: bool = False, reused_from: int | None = None,
) -> Packed:  # fmt: skip
    """Pack what was changed (None: nothing, and the state was not read) as the checkpoint of ``step``.

    A keyframe is added when asked for, after 32 deltas, when these outgrow the last one, and where the state comes to a new
    schema version. ``next_step``: where the run goes on after it.
    """
    secret, pieces = secret_fields(kind), dict[str, bytes]()
    version = kind.schema_version if change is not None or since.version is None else since.version
    delta, grown = b"", 0
    if change is None:
        delta = blob.pack({})
    else:
        delta, grown = _record(run_id, change.delta, change.values, secret, pieces)
    since.add(grown)
    frame: bytes | None = None
    if change is not None and (keyframe or since.is_enough or since.version not in (None, version)):
        frame, whole = _record(run_id, {"set": change.values}, change.values, secret, pieces)
        since.count, since.size, since.keyframe = 0, 0, whole
    since.version = version
    fresh = {one: data for one, data in pieces.items() if one not in since.known}
    since.known.update(fresh)
    columns = {
        "step": step,
        "visit": place.visit,
        "attempt": place.attempt,
        "schema_version": version,
        "next_step": next_step,
        "reused_from": reused_from,
        "delta": delta,
        "keyframe": frame,
        "usage": None if usage is None else codec.dumps(usage).decode(),
        "logs": logs,
    }
    columns["content_hash"] = hash_of(columns, usage)
    return Packed(columns, fresh)


def hash_of(row: Mapping[str, Any], usage: Any) -> bytes:
    """The content hash of a checkpoint, over its bytes as stored (usage is compared as a value: jsonb rewrites text)."""
    parts = ["checkpoint", row["step"], row["visit"], row["attempt"], row["schema_version"], row["next_step"]]
    parts += [row["reused_from"], sorted((usage or {}).items()), row["logs"]]
    return journal.content_hash(parts, row["delta"], row["keyframe"])


def _record(
    run_id: uuid.UUID, delta: Mapping[str, Any], values: Mapping[str, Any], secret: frozenset[str], pieces: dict[str, bytes]
) -> tuple[bytes, int]:
    """The stored record of a delta, and how many bytes it and its pieces take."""
    record: dict[str, Any] = {}
    sealed = {name: values[name] for part in delta.values() for name in part if name in secret}
    if sealed:
        delta = {how: {name: value for name, value in part.items() if name not in secret} for how, part in delta.items()}
        record["sealed"] = {name: sealing.seal(run_id, name, value) for name, value in sealed.items() if not is_empty(value)}
        empty = {name: value for name, value in sealed.items() if is_empty(value)}
        delta = {**delta, "set": {**delta.get("set", {}), **empty}}
    size = 0
    for how in ("set", "append"):
        small, large = contents.apart(delta.get(how, {}), pieces)
        record[how], record[f"{how}_parts"] = small, {name: parts.as_json() for name, parts in large.items()}
        size += sum(parts.size for parts in large.values())
    record["patch"] = delta.get("patch")
    packed = blob.pack(
        {how: part for how, part in record.items() if part}, has_parts=bool(record["set_parts"] or record["append_parts"])
    )
    return packed, size + len(packed)


_PLAIN = {"set", "append", "patch"}  # of a record without large or secret values, which most are


def read(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A record as a delta whose large values are Parts and whose secret ones are Sealed. Raises ValueError, TypeError."""
    if record.keys() <= _PLAIN and all(type(part) is dict for part in record.values()):
        return {how: record.get(how) or {} for how in ("set", "append", "patch")}
    delta: dict[str, dict[str, Any]] = {how: dict(record.get(how) or {}) for how in ("set", "append", "patch")}
    for how in ("set", "append"):
        delta[how] |= {name: Parts.of(stored) for name, stored in (record.get(f"{how}_parts") or {}).items()}
    delta["set"] |= {name: Sealed(token) for name, token in (record.get("sealed") or {}).items()}
    return delta
