"""The socket of gates."""

from typing import Any

from channels.db import database_sync_to_async

from approvals.models import Gate
from approvals.reading import for_json, gate_as_json
from runs.live import hub
from runs.sockets import Tail

NEWS = ("status", "version", "level", "due_at", "claim", "delegations", "acts", "undo_until")


class GateTail(Tail):
    """``/ws/gates/``: the open gates that the user may see, then each gate as it changes."""

    async def tail(self) -> None:
        self.sent: dict[str, Any] = {}
        async with hub().watch(None) as queue:
            for gate in await self._read(None):
                await self._send(gate)
            while (news := await queue.get()) is not None:
                for gate in await self._read(news.run["id"]):
                    await self._send(gate)

    async def check(self) -> None:
        """Whoever a policy names has an inbox, whatever their role."""

    async def _send(self, gate: dict[str, Any]) -> None:
        mark = {name: gate[name] for name in NEWS} | {"votes": [(one["id"], one["voided"]) for one in gate["decisions"]]}
        if self.sent.get(gate["id"]) == mark:
            return
        self.sent[gate["id"]] = mark
        await self.send_json({"gate": gate})

    @database_sync_to_async
    def _read(self, run_id: str | None) -> list[dict[str, Any]]:
        gates = for_json(Gate.objects.visible_to(self.scope["user"]))
        gates = gates.open().order_by("-opened_at")[:200] if run_id is None else gates.filter(run_id=run_id)
        return [gate_as_json(gate) for gate in gates]
