"""What the sockets have in common: who may open one, and how it is refused."""

import asyncio
import contextlib
import json
import logging
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from runs.access import may
from runs.live import hub

NOT_SIGNED_IN, NOT_PERMITTED, NOT_FOUND, TOO_SLOW, BAD_REQUEST, INTERNAL = 4401, 4403, 4404, 4408, 4400, 1011
HEARTBEAT = 5.0  # seconds; pages that hear nothing for more than twice as long connect again


log = logging.getLogger(__name__)


class Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class Tail(AsyncWebsocketConsumer):
    """Checks access, tails, sends; writes nothing. Subclasses say what in ``check`` and ``tail``."""

    html = False
    work: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()  # a close code reaches the client only after the handshake
        self.query = {name: values[-1] for name, values in parse_qs(self.scope["query_string"].decode()).items()}
        self.html = self.query.get("format") == "html"
        try:
            if not self.scope.get("origin_allowed", True):
                raise Refused(NOT_PERMITTED)
            if not self.scope["user"].is_authenticated:
                raise Refused(NOT_SIGNED_IN)
            await self.check()
        except Refused as refused:
            await self.close(code=refused.code)
            return
        self.work = asyncio.create_task(self._run())

    async def disconnect(self, code: int) -> None:
        if self.work is not None:
            self.work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self.work

    async def check(self) -> None:
        """Raises Refused."""
        if not await database_sync_to_async(may)(self.scope["user"], "see"):
            raise Refused(NOT_PERMITTED)

    async def tail(self) -> None:
        """Send a snapshot, then what happens, for ever."""
        raise AssertionError("a subclass says what to send")

    async def send_json(self, message: Any) -> None:
        await self.send(text_data=json.dumps(message))

    async def _run(self) -> None:
        beating = asyncio.create_task(self._beat()) if self.html else None
        try:
            await self.tail()
            await self.close(code=TOO_SLOW)
        except OSError:  # uvicorn's word for a client that has left
            log.debug("socket of %s: its client has left", self.scope["path"])
        except Exception:
            log.exception("socket of %s", self.scope["path"])
            await self.close(code=INTERNAL)
        finally:
            if beating is not None:
                beating.cancel()

    async def _beat(self) -> None:
        while True:
            await self.send_json({"alive": True, "slow": not hub().hears})
            await asyncio.sleep(HEARTBEAT)
