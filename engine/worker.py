"""What a pool child of a run worker does at its birth and at its death."""

import ctypes
import os
import signal
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init, worker_shutting_down
from django.conf import settings
from django.db import connections

from engine import lease

PR_SET_PDEATHSIG = 1


@worker_process_init.connect
def child_starts(**_: Any) -> None:
    """A child dies with its worker; its runs are then taken over at once."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    connections.close_all()  # the parent's, which a child must not share
    if settings.HOLDFAST_ROLE != "control":
        lease.hold_soon()


@worker_shutting_down.connect
def worker_stops(**_: Any) -> None:
    """Celery waits for its children; tell each to stop at its next boundary."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for pid in children.read_text().split():
        os.kill(int(pid), signal.SIGTERM)
