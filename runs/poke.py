"""The small message that makes live pages look at the journal at once. Losing one costs two seconds, nothing else.

Pokes are coalesced and sent by a thread of their own, so that neither a step nor a request ever waits for Redis.
"""

import json
import logging
import os
import threading
import time
import uuid
from typing import Any

import redis
from django.conf import settings

CHANNEL = "holdfast:poke"
INTERVAL = 0.03  # seconds between two sends
PAUSE = 2.0  # seconds without a try after a failure
log = logging.getLogger(__name__)


class _Sender:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.runs: set[str] = set()
        self.progress: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, list[str]] = {}
        self.due = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self._loop, name="poke", daemon=True).start()

    def _loop(self) -> None:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5)
        while True:
            self.due.wait()
            time.sleep(INTERVAL)
            self.due.clear()
            with self.lock:
                message = {"runs": list(self.runs), "progress": self.progress, "stream": self.texts}
                self.runs, self.progress, self.texts = set(), {}, {}
            try:
                client.publish(CHANNEL, json.dumps(message))
            except (redis.RedisError, OSError):
                time.sleep(PAUSE)


_sender: _Sender | None = None
_sender_lock = threading.Lock()


def _current() -> _Sender:
    """This process's sender; a forked child starts its own."""
    global _sender
    if _sender is None or _sender.pid != os.getpid():
        with _sender_lock:
            if _sender is None or _sender.pid != os.getpid():
                _sender = _Sender()
    return _sender


def run_changed(run_id: uuid.UUID | str) -> None:
    """Tell live pages that the run's journal has grown. Call it after the commit."""
    sender = _current()
    with sender.lock:
        sender.runs.add(str(run_id))
    sender.due.set()


def progress(run_id: uuid.UUID | str, step: str, fraction: float, message: str) -> None:
    """Show how far a step is; the last one within the interval is sent."""
    sender = _current()
    with sender.lock:
        sender.progress[str(run_id)] = {"step": step, "fraction": fraction, "message": message[:500]}
    sender.due.set()


def stream(run_id: uuid.UUID | str, text: str) -> None:
    """Show text as it is made."""
    sender = _current()
    with sender.lock:
        sender.texts.setdefault(str(run_id), []).append(text[:10_000])
    sender.due.set()
