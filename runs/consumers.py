"""Sockets of runs: one run's journal, and the list."""

from typing import Any

from channels.db import database_sync_to_async
from django.template.loader import render_to_string

from runs import branches, reading
from runs.live import BATCH, News, Queue, hub, read
from runs.models import Run
from runs.sockets import BAD_REQUEST, NOT_FOUND, Refused, Tail


class RunTail(Tail):
    """``/ws/runs/<id>/?after=<seq>&format=json|html``: everything after ``seq``, then each entry as it commits."""

    last: dict[str, Any] | None = None  # the run as this client has it

    async def check(self) -> None:
        self.run_id = str(self.scope["url_route"]["kwargs"]["run_id"])
        try:
            self.after = int(self.query.get("after", "-1"))
        except ValueError:
            raise Refused(BAD_REQUEST) from None
        if not await database_sync_to_async(self._visible)():
            raise Refused(NOT_FOUND)

    def _visible(self) -> bool:
        return Run.objects.visible_to(self.scope["user"]).filter(pk=self.run_id).exists()

    async def tail(self) -> None:
        live = hub()
        async with live.watch(self.run_id) as queue:  # subscribe first, then read
            await self._catch_up()
            live.seen.setdefault(self.run_id, self.after)
            live.look(self.run_id)
            await self._follow(queue)

    async def _catch_up(self) -> None:
        first = True
        while True:
            news = await read(self.run_id, self.after)
            if news is None:
                return
            entries = news.entries
            if first and self.after > news.run["seq"]:  # a failover lost what this client has seen
                await self.send_json({"reset": True})
                self.after, first = -1, False
                continue
            if first or entries:
                await self._send(news)
            first = False
            self.after = entries[-1]["seq"] if entries else self.after
            if len(entries) < BATCH:
                return

    async def _follow(self, queue: Queue) -> None:
        while (news := await queue.get()) is not None:
            if news.progress is not None:
                await self.send_json({"progress": news.progress})
            elif news.stream:
                await self.send_json({"stream": news.stream})
            else:
                await self._newer(news)

    async def _newer(self, news: News) -> None:
        """Send the part of ``news`` that this client has not seen; ``seq`` has no gap that could hide anything."""
        if news.run["seq"] < self.after:
            return  # older than what catching up has already sent
        entries = [entry for entry in news.entries if entry["seq"] > self.after]
        if entries and entries[0]["seq"] != self.after + 1:
            await self._catch_up()
            return
        if len(entries) != len(news.entries):
            news = News(news.run, entries, row=news.row)
        if entries:
            self.after = entries[-1]["seq"]
        elif news.run["seq"] > self.after:
            await self._catch_up()
            return
        await self._send(news)

    async def _send(self, news: News) -> None:
        if news.run == self.last and not news.entries:
            return
        self.last = news.run
        if not self.html:
            await self.send_json({"run": news.run, "entries": news.entries})
            return
        page = self.query.get("page", "")
        if page not in news.rendered:
            news.rendered[page] = await database_sync_to_async(self.render)(news, page)
        await self.send_json(
            {"content": news.rendered[page], "seq": max([self.after, *(e["seq"] for e in news.entries)]),
             "status": news.run["status"]}
        )  # fmt: skip

    def render(self, news: News, page: str) -> str:
        """The viewer-neutral fragments of one of the run's pages that change with its journal."""
        raise AssertionError("who has pages says what is on them")


class RunListTail(Tail):
    """``/ws/runs/``: each run as it changes, the newest ones first as a snapshot."""

    async def tail(self) -> None:
        async with hub().watch(None) as queue:
            if not self.html:
                for run in await self._newest():
                    await self.send_json({"run": run})
            while (news := await queue.get()) is not None:
                await self._send(news)

    @database_sync_to_async
    def _newest(self) -> list[dict[str, Any]]:
        runs = Run.objects.visible_to(self.scope["user"]).for_list().order_by("-created_at")[:50]
        return [reading.run_as_json(run) for run in branches.count(list(runs))]

    async def _send(self, news: News) -> None:
        if not self.html:
            await self.send_json({"run": news.run})
            return
        if "row" not in news.rendered:
            news.rendered["row"] = await database_sync_to_async(render_row)(news.run["id"])
        await self.send_json({"content": news.rendered["row"], "run": news.run["id"], "created_at": news.run["created_at"]})


def render_row(run_id: str) -> str:
    run = Run.objects.for_list().get(pk=run_id)
    return render_to_string("runs/live/_row.html", {"run": run})
