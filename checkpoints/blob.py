"""How JSON is laid down in a column: one byte that says how, then the bytes."""

from typing import Any

import zstandard

from workflows import codec

PLAIN, ZSTD = b"\x00", b"\x01"
WORTH_IT = 512  # bytes below which compressing costs more than it saves
LIMIT = 64 * 1024 * 1024  # bytes that a stored value may unpack to

_compressor = zstandard.ZstdCompressor(level=1)
_decompressor = zstandard.ZstdDecompressor()


def pack(value: Any) -> bytes:
    """Raises ValueError for what JSON or PostgreSQL cannot hold."""
    return pack_json(codec.dumps(value))


def pack_json(data: bytes) -> bytes:
    return PLAIN + data if len(data) < WORTH_IT else ZSTD + _compressor.compress(data)


def unpack(blob: bytes | memoryview) -> Any:
    """The JSON value. Raises ValueError when the bytes are not what ``pack`` made."""
    blob = bytes(blob)
    mark, data = blob[:1], blob[1:]
    if mark == ZSTD:
        try:
            data = _decompressor.decompress(data, max_output_size=LIMIT)
        except zstandard.ZstdError as error:
            raise ValueError(f"cannot be unpacked: {error}") from None
    elif mark != PLAIN:
        raise ValueError("cannot be unpacked: its first byte is unknown")
    return codec.loads(data)
