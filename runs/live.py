"""The live tail of the journal, one per web process.

Pokes only say where to look. Rows are read once per run and change, rendered once, and handed to everybody who watches.
Every two seconds the last change of all watched runs is compared in one query, so a lost poke, or Redis gone, costs that.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis.asyncio
from channels.db import database_sync_to_async
from django.conf import settings

from runs import poke, reading
from runs.clock import Now
from runs.models import Run

POLL = 2.0  # seconds
QUIET = 2.0  # seconds without a poke, after which Redis is asked whether it is there
ANSWERS = 1.0  # seconds that it has to say so
BATCH = 500  # entries read at once
QUEUE = 1000  # messages a slow client may be behind before it is cut off; it then comes back with its last seq
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """What has happened to one run. ``entries`` are journal entries; ``html`` holds the rendered ones, by format."""

    run: dict[str, Any]
    entries: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    stream: str = ""
    row: Run | None = field(default=None, compare=False)  # the run as it was when the entries were read
    rendered: dict[str, str] = field(default_factory=dict, compare=False)


Queue = asyncio.Queue[News | None]


class Hub:
    """Everything that this event loop's sockets watch."""

    def __init__(self) -> None:
        self.watchers: dict[str, set[Queue]] = {}
        self.everywhere: set[Queue] = set()
        self.seen: dict[str, int] = {}  # the last seq handed out
        self.marks: dict[str, str] = {}  # when each run had last been changed as it was handed out
        self.dirty: set[str] = set()
        self.wake = asyncio.Event()
        self.hears = True  # pokes from Redis; otherwise the poll does the work alone
        self.tasks = [asyncio.create_task(work()) for work in (self._listen, self._poll, self._pump)]

    @contextlib.asynccontextmanager
    async def watch(self, run_id: str | None) -> AsyncIterator[Queue]:
        """A queue of News of one run, or of all (None). It ends with None when the watcher is too slow."""
        queue: Queue = asyncio.Queue(QUEUE)
        group = self.everywhere if run_id is None else self.watchers.setdefault(run_id, set())
        group.add(queue)
        try:
            yield queue
        finally:
            group.discard(queue)
            if run_id is not None and not self.watchers.get(run_id):
                self.watchers.pop(run_id, None)
                self.seen.pop(run_id, None)

    def look(self, run_id: str) -> None:
        if run_id in self.watchers or self.everywhere:
            self.dirty.add(run_id)
            self.wake.set()

    async def _listen(self) -> None:
        """Pokes from Redis. While it is away the poll does the work alone."""
        while True:
            client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5)
            try:
                async with client.pubsub() as channel:
                    await channel.subscribe(poke.CHANNEL)
                    while True:
                        await asyncio.wait_for(client.ping(), ANSWERS)  # one that hangs would only be quiet
                        self.hears = True
                        while (message := await channel.get_message(timeout=QUIET)) is not None:
                            if message["type"] == "message":
                                self._heard(json.loads(message["data"]))
            except (redis.RedisError, OSError, ValueError):
                self.hears = False
                await asyncio.sleep(1)
            finally:
                await client.aclose()

    def _heard(self, message: dict[str, Any]) -> None:
        for run_id in message["runs"]:
            self.look(run_id)
        for run_id, progress in message["progress"].items():
            self._hand_out(run_id, News({}, progress=progress))
        for run_id, texts in message["stream"].items():
            self._hand_out(run_id, News({}, stream="".join(texts)))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            try:
                for run_id, mark in await _changed(list(self.watchers), bool(self.everywhere)):
                    if self.marks.get(run_id) != mark:
                        self.look(run_id)
            except Exception as error:
                log.warning("live: cannot look at the database: %s", error)

    async def _pump(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            batch, self.dirty = self.dirty, set()
            for run_id in batch:
                try:
                    await self._read(run_id)
                except Exception as error:
                    log.warning("live: cannot read run %s: %s", run_id, error)

    async def _read(self, run_id: str) -> None:
        """Read what is new since this process last looked, and hand it out."""
        while True:
            after = self.seen.get(run_id)
            wanted = run_id in self.watchers
            news = await read(run_id, after if wanted and after is not None else None)
            if news is None:
                return
            run, entries = news.run, news.entries
            if len(self.seen) > 10_000:
                self.seen = {key: value for key, value in self.seen.items() if key in self.watchers}
                self.marks = {key: value for key, value in self.marks.items() if key in self.watchers}
            self.seen[run_id] = entries[-1]["seq"] if len(entries) == BATCH else run["seq"]
            self.marks[run_id] = run["updated_at"]
            self._hand_out(run_id, news)
            if len(entries) < BATCH:
                return

    def _hand_out(self, run_id: str, news: News) -> None:
        for queue in (*self.watchers.get(run_id, ()), *(self.everywhere if news.run else ())):
            try:
                queue.put_nowait(news)
            except asyncio.QueueFull:
                with contextlib.suppress(asyncio.QueueEmpty):
                    queue.get_nowait()
                queue.put_nowait(None)


@database_sync_to_async
def read(run_id: str, after: int | None) -> News | None:
    """The run, and its entries after ``after`` (None: none of them); None where there is no such run."""
    run = Run.objects.defer("input", "saved").filter(pk=run_id).first()
    if run is None:
        return None
    entries = [] if after is None else reading.journal(run, after=after, before=run.seq + 1, limit=BATCH)
    return News(reading.run_as_json(run), entries, row=run)


@database_sync_to_async
def _changed(run_ids: list[str], recent: bool) -> list[tuple[str, str]]:
    """When every watched run was last changed, and every run that was lately where somebody watches the list."""
    rows = list(Run.objects.filter(pk__in=run_ids).values_list("pk", "updated_at")) if run_ids else []
    if recent:
        rows += Run.objects.filter(updated_at__gt=Now() - timedelta(seconds=3 * POLL)).values_list("pk", "updated_at")[:BATCH]
    return [(str(pk), at.isoformat()) for pk, at in rows]


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """This event loop's hub; started with its first watcher."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
