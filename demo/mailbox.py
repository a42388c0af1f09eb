"""A mail server of the demo's own: it takes every message, keeps it as a file, and passes none on."""

import argparse
import asyncio
import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

KEPT = 500  # messages, the latest


class Keeper:
    """aiosmtpd's handler."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        name = f"{time.time_ns()}.eml"
        scratch = self.folder / f".{name}"
        scratch.write_bytes(envelope.content)
        scratch.rename(self.folder / name)
        for old in sorted(self.folder.glob("*.eml"))[:-KEPT]:
            old.unlink(missing_ok=True)
        return "250 Kept"


def messages(folder: Path) -> list[tuple[str, EmailMessage]]:
    """The kept messages by name, the newest first."""
    names = sorted((path.name for path in folder.glob("*.eml")), reverse=True)
    return [(name, read(folder, name)) for name in names[:100]]


def at(name: str) -> datetime:
    """When it came."""
    return datetime.fromtimestamp(int(name.removesuffix(".eml")) / 1e9, UTC)


def read(folder: Path, name: str) -> EmailMessage:
    """One of them. Raises OSError."""
    found: EmailMessage = message_from_bytes((folder / name).read_bytes(), policy=policy.default)
    return found


async def serve(port: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keeper(folder), hostname="mailbox.example"), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.folder))
