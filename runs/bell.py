"""Ringing a worker. PostgreSQL is the truth; a Celery message only says that something is due.

A lost bell costs until the sweeper's next look. A frozen Redis must not hang whoever rings: half a second per try,
no retries, and no try at all for a while after a failure.
"""

import logging
import os
import time
import uuid
from functools import lru_cache
from typing import Any

from celery import current_app
from django.db import transaction
from kombu import Connection
from kombu.pools import producers

ADVANCE = "engine.advance"  # on the queue "runs"
DELIVER = "approvals.deliver"  # on the queue "control"
ANSWER = "approvals.answer"  # on the same
PAUSE = 3.0  # seconds
# Short for whoever rings; a worker that listens keeps Celery's own, for it waits on the socket by design.
IMPATIENT = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "max_retries": 0,
    "retry_policy": {"max_retries": 0, "timeout": 0.5},
}
log = logging.getLogger(__name__)
_quiet_until = 0.0


def ring(run_id: uuid.UUID | str | None = None) -> bool:
    """Say that something is due, with a run as a hint. False: the broker cannot be reached, the sweeper will ring."""
    return send(ADVANCE, "runs", str(run_id) if run_id else None)


def tell() -> bool:
    """Say that people are to hear of something. False as of ``ring``."""
    return send(DELIVER, "control")


def send(task: str, queue: str, *args: Any) -> bool:
    """Send a message to that queue's workers. False as of ``ring``."""
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return False
    try:
        with producers[_connection(os.getpid())].acquire(block=True, timeout=0.5) as producer:
            current_app.send_task(task, args=args, queue=queue, retry=False, producer=producer)
    except Exception as error:  # kombu raises OperationalError, redis and OSError in turn
        _quiet_until = time.monotonic() + PAUSE
        log.warning("bell not rung, the sweeper will: %s", error)
        return False
    return True


def ring_on_commit(run_id: uuid.UUID | str) -> None:
    transaction.on_commit(lambda: ring(run_id), robust=True)


def tell_on_commit() -> None:
    transaction.on_commit(lambda: tell(), robust=True)


@lru_cache(maxsize=1)
def _connection(pid: int) -> Connection:
    """One connection's settings a process: a forked child must not share its parent's sockets."""
    return current_app.connection_for_write(transport_options={**IMPATIENT, "process": pid})
