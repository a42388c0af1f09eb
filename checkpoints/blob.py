"""How JSON is laid down in a column: one byte that says how, then the bytes."""

from typing import Any

import zstandard

from workflows import codec

PLAIN, ZSTD = 0, 1  # the first byte
HAS_PARTS = 2  # added to it: the value names contents that are stored apart (checkpoints/contents.py)
WORTH_IT = 512  # bytes below which compressing costs more than it saves
LIMIT = 64 * 1024 * 1024  # bytes that a stored value may unpack to

_compressor = zstandard.ZstdCompressor(level=1)
_decompressor = zstandard.ZstdDecompressor()


def pack(value: Any, *, has_parts: bool = False) -> bytes:
    """Raises ValueError for what JSON or PostgreSQL cannot hold."""
    return pack_json(codec.dumps(value), has_parts=has_parts)


def pack_json(data: bytes, *, has_parts: bool = False) -> bytes:
    mark = HAS_PARTS if has_parts else 0
    return bytes((mark,)) + data if len(data) < WORTH_IT else bytes((mark | ZSTD,)) + _compressor.compress(data)


def unpack(blob: bytes | memoryview) -> Any:
    """The JSON value. Raises ValueError when the bytes are not what ``pack`` made."""
    blob = bytes(blob)
    mark, data = blob[:1], blob[1:]
    if not mark or mark[0] > ZSTD | HAS_PARTS:
        raise ValueError("cannot be unpacked: its first byte is unknown")
    if mark[0] & ZSTD:
        try:
            data = _decompressor.decompress(data, max_output_size=LIMIT)
        except zstandard.ZstdError as error:
            raise ValueError(f"cannot be unpacked: {error}") from None
    return codec.loads(data)


def has_parts(blob: bytes | memoryview) -> bool:
    """Whether the value names contents that are stored apart."""
    return len(blob) > 0 and bool(blob[0] & HAS_PARTS)
