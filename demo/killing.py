"""Try it yourself: kill the worker that carries a run, and see what became of the run. In the demo only."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from engine.lease import HELD_KEYS
from runs.access import require
from runs.models import Act, Kind, Run
from runs.services import audit, journal, moves

_PROCESS = f"""
SELECT activity.application_name FROM ({HELD_KEYS}) AS held JOIN pg_stat_activity AS activity USING (pid) WHERE key = %s
"""


class NobodyToKill(Exception):
    """No worker of this host carries the run now."""


def worker_process(run: Run) -> int | None:
    """A process that holds the run's lease, or one of its branches', or None. It names itself (engine/lease.py)."""
    worker = run.worker or run.branches.filter(worker__isnull=False).values_list("worker", flat=True).first()
    if worker is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_PROCESS, [worker])
        row = cursor.fetchone()
    pid = row[0].rpartition(" ")[2] if row else ""
    return int(pid) if pid.isdigit() and _is_worker(int(pid)) else None


def kill_worker(run_id: Any, *, by: Any) -> int:
    """SIGKILL the worker, after a note in the journal that says who did it. Raises NobodyToKill, NotPermitted."""
    require(by, "operate")
    with transaction.atomic():
        run = moves.lock(run_id)
        pid = worker_process(run)
        if pid is None:
            raise NobodyToKill("no worker carries this run at the moment")
        detail = {"text": f"killed its worker, process {pid} (SIGKILL)", "killed": pid}
        journal.record(run.pk, journal.Entry(Kind.NOTE, run.step, run.attempt, by.get_username(), detail))
        audit.record(by, Act.KILLED, run=run, changed={"process": pid})
        moves.poke_on_commit(run)
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGKILL)
    return pid


@dataclass(frozen=True)
class Aftermath:
    """What became of the run after the last kill; milliseconds from the kill. None: not yet."""

    pid: int
    noticed_ms: float | None
    went_on_ms: float | None
    kept: int
    saved: dict[str, Any]

    @property
    def is_over(self) -> bool:
        return self.went_on_ms is not None


def aftermath(run: Run) -> Aftermath | None:
    """From the journal: the note, the loss that followed it, and the next attempt's start."""
    note = run.events.filter(kind=Kind.NOTE, detail__contains='"killed":').order_by("-seq").first()
    if note is None:
        return None
    lost = run.events.filter(kind=Kind.WORKER_LOST, seq__gt=note.seq).order_by("seq").first()
    kept = run.checkpoints.filter(seq__lt=note.seq).exclude(step="").count()
    again = None
    if lost is not None:
        later = run.checkpoints.filter(seq__gt=lost.seq, started_at__isnull=False).order_by("seq").first()
        again = later.started_at if later is not None else run.step_started_at
    return Aftermath(
        pid=note.as_entry()["detail"]["killed"],
        noticed_ms=_since(note, lost.at if lost else None),
        went_on_ms=_since(note, again),
        kept=kept,
        saved=lost.as_entry()["detail"].get("saved") or {} if lost else {},
    )


def _since(note: Any, at: Any) -> float | None:
    return None if at is None else float((at - note.at).total_seconds() * 1000)


def _is_worker(pid: int) -> bool:
    try:
        return b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
