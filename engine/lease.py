"""A worker's proof that it lives: an advisory lock on a direct connection that lives as long as the process.

The watcher thread ends the process as soon as that connection closes, for then others may take its runs over.
"""

import os
import secrets
import select
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings

KEY_BITS = 63
SERVER_KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"
EXIT_LEASE_LOST = 70
TRY_AGAIN = 0.5  # seconds between two tries to take a lease

# A lease key as pg_locks shows a bigint advisory lock: high half in classid, low half in objid, objsubid 1.
HELD_KEYS = """
SELECT (classid::bigint << 32) | objid::bigint AS key, pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Lease:
    key: int
    connection: psycopg.Connection[tuple[object, ...]]
    pid: int


_lease: Lease | None = None
_taking = threading.Lock()


def hold() -> int:
    """This process's worker id, whose lock it holds until it dies. Raises psycopg.OperationalError while there is none."""
    global _lease
    with _taking:
        if _lease is None or _lease.pid != os.getpid():
            _lease = _take()
            threading.Thread(target=_watch, args=(_lease,), name="lease", daemon=True).start()
        return _lease.key


def hold_soon() -> None:
    """Take the lease in the background, now or as soon as the database is there.

    A worker that waited for its first run would not be counted after a restart of the database while nothing is due; and
    Celery kills a child whose birth takes longer than 4 s, as connecting to a frozen server does.
    """
    threading.Thread(target=_until_held, name="take lease", daemon=True).start()


def _until_held() -> None:
    while True:
        try:
            hold()
            return
        except psycopg.OperationalError:
            time.sleep(TRY_AGAIN)


def _take() -> Lease:
    key = secrets.randbits(KEY_BITS)
    options: dict[str, Any] = {name: value for name, value in settings.DATABASE_OPTIONS.items() if name != "application_name"}
    connection = psycopg.connect(
        settings.HOLDFAST_LEASE_URL, autocommit=True, application_name=f"holdfast lease {os.getpid()}", **options
    )
    connection.execute(SERVER_KEEPALIVE)
    connection.execute("SELECT pg_advisory_lock(%s)", [key])
    return Lease(key, connection, os.getpid())


def _watch(lease: Lease) -> None:
    """Nothing is ever sent on an idle connection, so anything readable means that it has ended."""
    poller = select.poll()
    poller.register(lease.connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLRDHUP)
    while True:
        if not poller.poll(60_000):
            continue
        try:  # a notice or a parameter status is readable too
            lease.connection.execute("SELECT 1")
        except psycopg.Error:
            os.write(2, b"lease lost, this worker process ends\n")
            os._exit(EXIT_LEASE_LOST)
        time.sleep(0.05)
