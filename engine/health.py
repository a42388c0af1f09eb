"""Whether Holdfast can do its work, and what is wrong when it cannot."""

from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import DatabaseError, connection

from engine.lease import HELD_KEYS

SWEEPER_LATE = 5.0  # seconds without a sign of life


def readiness() -> tuple[bool, dict[str, Any]]:
    """``(ready, checks)``; each check is ``{"ok": bool, …}`` with what is wrong in words. Redis away is no outage."""
    checks: dict[str, Any] = {"database": _database(), "redis": _redis()}
    if checks["database"]["ok"]:
        try:
            checks |= _by_database()
        except DatabaseError as error:  # it went away in between
            checks["database"] = _wrong(error)
    return all(checks.get(name, {"ok": False})["ok"] for name in ("database", "workers", "sweeper", "redis")), checks


def parts() -> dict[str, Any]:
    """As the checks of ``readiness``, without the database: whoever shows them has just asked it."""
    return {"redis": _redis(), **_by_database()}


def _by_database() -> dict[str, Any]:
    return {"workers": _workers(), "sweeper": _sweeper()}


def _database() -> dict[str, Any]:
    """Asked on a connection of its own: the web process's pool waits 10 s for a server that is away."""
    try:
        psycopg.connect(settings.DATABASE_URL, connect_timeout=2, application_name="holdfast readiness").close()
    except psycopg.Error as error:
        return _wrong(error)
    return {"ok": True}


def _wrong(error: Exception) -> dict[str, Any]:
    return {"ok": False, "error": str(error).splitlines()[0] if str(error) else type(error).__name__}


def _redis() -> dict[str, Any]:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        return {
            "ok": False,
            "error": f"{error} (steps in flight go on, what is due starts when it is back)",
        }
    finally:
        client.close()
    return {"ok": True}


def _workers() -> dict[str, Any]:
    """Run workers say hello on connecting; a lease is taken with the first run."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({HELD_KEYS}) AS held")
        leases = cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'holdfast lease %'")
        processes = cursor.fetchone()[0]
    return {"ok": processes > 0, "leases": max(0, leases - 1), "processes": processes}


def sweeper_lag() -> float | None:
    """Seconds since the sweeper's last sign of life; None: there has never been one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - at) FROM engine_heartbeat WHERE name = 'sweeper'")
        row = cursor.fetchone()
    return None if row is None else float(row[0])


def _sweeper() -> dict[str, Any]:
    lag = sweeper_lag()
    if lag is None:
        return {"ok": False, "error": "no sweeper has ever run; start one with “manage.py sweep”"}
    return {"ok": lag < SWEEPER_LATE, "lag_seconds": round(lag, 3)}
