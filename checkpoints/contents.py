"""Large values: cut into pieces that are stored apart, once per run and content.

So a keyframe of a state that grows costs its new pieces only, and a text that comes and goes is stored once.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from checkpoints import blob
from runs import hot
from workflows import codec

LARGE = 4096  # bytes of JSON from which a value is stored apart
PIECE = 16 * 1024  # bytes of JSON of a list's or an object's items after which a piece ends; the last one grows
TEXT = 128 * 1024  # characters of a text's piece


@dataclass(frozen=True)
class Parts:
    """A large value by the hashes of its pieces. ``size``: bytes that they are stored in, ``length``: of its JSON."""

    size: int
    length: int
    hashes: tuple[str, ...]

    def as_json(self) -> list[Any]:
        return [self.size, self.length, *self.hashes]

    @classmethod
    def of(cls, stored: list[Any]) -> "Parts":
        """Raises TypeError or ValueError for what is no such list."""
        size, length, *hashes = stored
        if {type(size), type(length)} != {int} or not hashes or not all(isinstance(one, str) for one in hashes):
            raise ValueError("the list of a value's pieces is malformed")
        return cls(size, length, tuple(hashes))

    def put_together(self, found: Mapping[str, bytes]) -> Any:
        """The value. Raises KeyError for a piece that is not among ``found``, ValueError for one that is altered."""
        pieces = [blob.unpack(found[one]) for one in self.hashes]
        first = pieces[0]
        if len(pieces) == 1:
            return first
        if isinstance(first, str):
            return "".join(pieces)
        if isinstance(first, list):
            return [item for piece in pieces for item in piece]
        return {key: value for piece in pieces for key, value in piece.items()}


def apart(values: Mapping[str, Any], pieces: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, Parts]]:
    """The values that stay where they are, and the large ones, whose ``pieces`` are added by their hashes."""
    small: dict[str, Any] = {}
    large: dict[str, Parts] = {}
    for name, value in values.items():
        fragments = _cut(value)
        if fragments is None:
            small[name] = value
            continue
        packed = [blob.pack_json(fragment) for fragment in fragments]
        hashes = [hashlib.sha256(piece).hexdigest() for piece in packed]
        pieces.update(zip(hashes, packed, strict=True))
        large[name] = Parts(sum(map(len, packed)), sum(map(len, fragments)), tuple(hashes))
    return small, large


def _cut(value: Any) -> list[bytes] | None:
    """The JSON of each piece of a large value; None for a small one."""
    if isinstance(value, str):
        if len(value) < LARGE:
            return None
        return [codec.dumps(value[at : at + TEXT]) for at in range(0, len(value), TEXT)]
    if not isinstance(value, (list, dict)) or not value:
        return None
    if isinstance(value, list):
        fragments, around = [codec.dumps(item) for item in value], b"[]"
    else:
        fragments, around = [codec.dumps(key) + b":" + codec.dumps(item) for key, item in value.items()], b"{}"
    if sum(map(len, fragments)) < LARGE:
        return None
    return [around[:1] + b",".join(piece) + around[1:] for piece in _pieces(fragments)]


def _pieces(fragments: Iterable[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size = 0
    for fragment in fragments:
        piece.append(fragment)
        size += len(fragment)
        if size >= PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


_FETCH = """
SELECT encode(hash, 'hex'), data FROM checkpoints_content
WHERE run_id = %(run)s AND hash IN (SELECT decode(one, 'hex') FROM unnest(string_to_array(%(hashes)s, ',')) AS one)
"""
STORE = """
INSERT INTO checkpoints_content (run_id, hash, data)
SELECT %(run)s, decode(%(hash)s, 'hex'), %(data)s ON CONFLICT DO NOTHING
"""


def fetch(run_id: uuid.UUID, hashes: Collection[str]) -> dict[str, bytes]:
    """The stored pieces by hash. One that is gone, or is not as it was written, is not among them."""
    if not hashes:
        return {}
    rows = hot.rows(_FETCH, {"run": run_id, "hashes": ",".join(hashes)})
    return {known: bytes(data) for known, data in rows if hashlib.sha256(data).hexdigest() == known}


def to_store(run_id: uuid.UUID, pieces: Mapping[str, bytes]) -> list[tuple[str, dict[str, Any]]]:
    """The statements that store the pieces."""
    return [(STORE, {"run": run_id, "hash": one, "data": data}) for one, data in pieces.items()]
