"""Who is looking at which gate just now. Redis keeps it for as long as the page says so; without Redis only that is gone."""

import time
import uuid
from collections.abc import Iterable
from functools import cache

import redis
from django.conf import settings

LASTS = 40.0  # seconds; the page says so every 15
PAUSE = 5.0  # seconds without a try after a failure
_away_until = 0.0


@cache
def _client() -> "redis.Redis":
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.3, socket_connect_timeout=0.3, decode_responses=True)


def look(gate_id: uuid.UUID, username: str) -> None:
    """Say that the user has the gate open."""
    now = time.time()

    def mark(client: "redis.Redis") -> None:
        name = _name(gate_id)
        with client.pipeline(transaction=False) as pipe:
            pipe.zadd(name, {username: now})
            pipe.zremrangebyscore(name, 0, now - LASTS)
            pipe.expire(name, int(LASTS) + 1)
            pipe.execute()

    _tried(mark)


def looking(gate_ids: Iterable[uuid.UUID], but: str = "") -> dict[uuid.UUID, list[str]]:
    """Who has each gate open, but for one user; gates that nobody looks at are left out."""
    ids, found = list(gate_ids), dict[uuid.UUID, list[str]]()

    def ask(client: "redis.Redis") -> None:
        with client.pipeline(transaction=False) as pipe:
            for gate_id in ids:
                pipe.zrangebyscore(_name(gate_id), time.time() - LASTS, "+inf")
            for gate_id, names in zip(ids, pipe.execute(), strict=True):
                if others := sorted(set(names) - {but}):
                    found[gate_id] = others

    if ids:
        _tried(ask)
    return found


def _name(gate_id: uuid.UUID) -> str:
    return f"holdfast:looking:{gate_id}"


def _tried(act) -> None:  # type: ignore[no-untyped-def] # a function of the client
    """A page never waits for Redis longer than once in a while."""
    global _away_until
    if time.monotonic() < _away_until:
        return
    try:
        act(_client())
    except (redis.RedisError, OSError):
        _away_until = time.monotonic() + PAUSE
