"""The sweeper: a loop of its own that finds what nobody took, whoever was lost, and gates whose time is over.

It reads candidates without locks and acts on each through the same services as everyone else, in a transaction of its
own. One that fails is pushed back, so that it cannot starve the rest.
"""

import logging
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection

from approvals.models import Delivery, Gate, GateQuerySet
from approvals.services import clock, keeping
from checkpoints import pruning
from engine.claim import DUE, UNDO_DUE
from engine.lease import HELD_KEYS
from engine.services import deadlines, settling, stuck, takeover
from runs import bell
from runs.clock import Now
from runs.models import Notice, Run
from workflows import registry
from workflows.steps import DEFAULT_TIMEOUT

log = logging.getLogger("holdfast.sweeper")
INTERVAL = 0.25  # seconds
BATCH = 200
TOGETHER = 50  # gates that are fired in one commit
KEEP_HOUSE = 60.0  # seconds between two looks for what has expired, or is to be pruned
FIND_STUCK = 5.0  # seconds between two looks for steps that are stuck
NOTIFY = 1.0  # seconds between two looks for messages that are due
RING_AGAIN = 5.0  # seconds before a run that stays due is rung for again
SETTLE_AFTER_START = 5.0  # seconds without takeovers after PostgreSQL came (back): its workers come back too
SWEEPER_LOCK = 7308604759846285  # an arbitrary constant; whoever holds it sweeps
PATIENCE = "1s"  # for a row that somebody else has locked; it is pushed back, and the others go on
STUCK_AFTER = 5.0  # seconds past a step's timeout after which its worker's lease is cut

_DUE = f"""
(SELECT id, available_at FROM runs_run WHERE {DUE} ORDER BY available_at LIMIT %(limit)s)
UNION ALL (SELECT id, available_at FROM runs_run WHERE {UNDO_DUE} ORDER BY available_at LIMIT %(limit)s)
UNION ALL (
    SELECT run.id, due.available_at FROM runs_run AS run CROSS JOIN LATERAL (
        SELECT available_at FROM runs_branch
        WHERE run_id = run.id AND fan_out_id = run.fan_out_id AND status = 'queued' AND available_at <= holdfast_now()
            AND (run.requested = '' OR doubt_at IS NOT NULL)
        ORDER BY available_at, index LIMIT %(each)s
    ) AS due WHERE run.status = 'running' AND run.worker IS NULL AND run.requested IN ('', 'cancel')
) ORDER BY available_at LIMIT %(limit)s
"""
# In fan-out with no branch in a step, and something to be said of that.
_TO_SETTLE = """
SELECT id FROM runs_run AS run WHERE status = 'running' AND worker IS NULL AND NOT EXISTS (
    SELECT FROM runs_branch WHERE run_id = run.id AND fan_out_id = run.fan_out_id AND status = 'running'
) AND (requested <> '' OR deadline_at <= holdfast_now()
    OR NOT EXISTS (SELECT FROM runs_branch WHERE run_id = run.id AND fan_out_id = run.fan_out_id AND status = 'queued')
    OR EXISTS (SELECT FROM runs_branch JOIN runs_fanout ON runs_fanout.id = fan_out_id
               WHERE fan_out_id = run.fan_out_id AND status = 'failed' AND on_failure = 'fail'))
"""
_TO_TELL = """
SELECT id FROM runs_run AS run WHERE status IN ('running', 'held') AND worker IS NULL AND fan_out_id IS NOT NULL AND EXISTS (
    SELECT FROM runs_branch WHERE run_id = run.id AND status IN ('succeeded', 'failed') AND told_at IS NULL
)
"""
CALLED = 8  # workers that are called for one fan-out's due branches; each takes one after the other
_FRESH_START = f"SELECT extract(epoch FROM clock_timestamp() - ({takeover.UP_SINCE}))"
_IN_FLIGHT = """
SELECT workflow, version, step, worker, extract(epoch FROM clock_timestamp() - coalesce(step_started_at, updated_at))
FROM runs_run WHERE status IN ('running', 'rolling_back') AND worker IS NOT NULL
    AND coalesce(step_started_at, updated_at) < clock_timestamp() - interval '5 s'
UNION ALL
SELECT workflow, version, branch.step, branch.worker,
    extract(epoch FROM clock_timestamp() - coalesce(branch.step_started_at, branch.updated_at))
FROM runs_branch AS branch JOIN runs_run AS run ON run.id = run_id WHERE branch.status = 'running'
    AND coalesce(branch.step_started_at, branch.updated_at) < clock_timestamp() - interval '5 s'
"""
_CUT = f"SELECT pg_terminate_backend(pid) FROM ({HELD_KEYS}) AS held WHERE key = %s"


class PushedBack:
    """Candidates that failed, each with the time before which it is not tried again (exponential, at most 5 minutes)."""

    def __init__(self) -> None:
        self.until: dict[Any, tuple[float, int]] = {}

    def ids(self) -> list[Any]:
        now = time.monotonic()
        return [key for key, (until, _) in self.until.items() if until > now]

    def push(self, key: Any) -> None:
        tries = self.until.get(key, (0.0, 0))[1] + 1
        self.until[key] = (time.monotonic() + min(300.0, 2.0**tries), tries)

    def done(self, key: Any) -> None:
        self.until.pop(key, None)


class Sweeper:
    def __init__(self) -> None:
        self.rung: dict[tuple[uuid.UUID, datetime], float] = {}  # a run that is due again is rung for again
        self.failed_gates = PushedBack()
        self.failed_runs = PushedBack()
        self.keeps_house_at = self.notifies_at = self.finds_stuck_at = 0.0
        self.stopping = False

    def run_forever(self) -> None:
        """Sweep until SIGTERM. An outage of the database is waited out."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        acts, waiting = False, 0.25
        while not self.stopping:
            try:
                acts = acts or self._acts()
                if acts:
                    self.sweep()
                waiting = INTERVAL
            except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
                log.warning("database away, trying again in %.1f s: %s", waiting, str(error).splitlines()[0:1])
                connection.close()
                acts, waiting = False, min(waiting * 2, 4.0)
            time.sleep(waiting)
        connection.close()

    def sweep(self) -> None:
        """One look at everything."""
        first = (self.fire_gates, self.take_over, self.settle, self.end_overdue, self.cut_stuck_workers, self.ring, self.tell)
        for part in (*first, self.remind, self.notify, self.find_stuck, self.keep_house, self.alive):
            try:
                part()
            except (OperationalError, InterfaceError, psycopg.OperationalError):
                raise
            except Exception:
                log.exception("a part of the sweep failed; the others go on")

    def fire_gates(self) -> int:
        """The oldest first, several in one commit; where one of them cannot be, each by itself."""
        due = list(self._gates(Gate.objects.due().order_by("due_at")))
        fired = 0
        for some in (due[start : start + TOGETHER] for start in range(0, len(due), TOGETHER)):
            try:
                fired += clock.expire_together(some)
            except (OperationalError, InterfaceError) as error:
                if not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise
            except Exception:
                fired += self._each(some, clock.expire, self.failed_gates)
        return fired

    def remind(self) -> int:
        """Gates that are still open some time before their deadline, or kept open after it."""
        return self._each(self._gates(Gate.objects.to_remind().order_by("remind_at")), clock.remind, self.failed_gates)

    def _gates(self, candidates: GateQuerySet) -> Iterable[uuid.UUID]:
        return candidates.exclude(pk__in=self.failed_gates.ids()).values_list("pk", flat=True)[:BATCH]

    def notify(self) -> bool:
        """Ring for the control worker where people are to hear of something: a message that is tried again, or a lost bell."""
        now = time.monotonic()
        if now < self.notifies_at:
            return False
        self.notifies_at = now + NOTIFY
        return (Notice.objects.filter(due_at__lte=Now()).exists() or Delivery.objects.due().exists()) and bell.tell()

    def take_over(self) -> int:
        if _one(_FRESH_START) < SETTLE_AFTER_START:
            return 0
        pushed = set(self.failed_runs.ids())
        lost = [row for row in takeover.lost(BATCH + len(pushed)) if row[0] not in pushed]
        return self._each(lost, lambda row: takeover.take_over(*row), self.failed_runs, key=lambda row: row[0])

    def settle(self) -> int:
        """Fan-outs of which nobody has asked, after their last branch, what becomes of the run."""
        return self._each(self._runs(_TO_SETTLE), settling.settle, self.failed_runs)

    def tell(self) -> int:
        """Journal what branches have finished since the last time."""
        return self._each(self._runs(_TO_TELL), settling.tell_of, self.failed_runs)

    def _runs(self, statement: str) -> list[uuid.UUID]:
        pushed = set(self.failed_runs.ids())
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [row[0] for row in cursor.fetchall() if row[0] not in pushed]

    def end_overdue(self) -> int:
        """Runs that queue or wait beyond their deadline."""
        candidates = Run.objects.overdue().exclude(pk__in=self.failed_runs.ids()).order_by("deadline_at")
        return self._each(candidates.values_list("pk", flat=True)[:BATCH], deadlines.end_overdue, self.failed_runs)

    def find_stuck(self) -> int:
        """Steps that run for much longer than usual."""
        now = time.monotonic()
        if now < self.finds_stuck_at:
            return 0
        self.finds_stuck_at = now + FIND_STUCK
        return self._each(stuck.candidates(BATCH), stuck.note, self.failed_runs)

    def keep_house(self) -> None:
        """What can wait for a minute: runs that have expired, and histories whose retention is over."""
        now = time.monotonic()
        if now < self.keeps_house_at:
            return
        self.keeps_house_at = now + KEEP_HOUSE
        candidates = deadlines.expired().exclude(pk__in=self.failed_runs.ids()).order_by("updated_at")
        self._each(candidates.values_list("pk", flat=True)[:BATCH], deadlines.end_expired, self.failed_runs)
        keeping.forget_messages()
        self._each(pruning.due(pruning.BATCH), pruning.prune_run, self.failed_runs, key=lambda run: run.pk)

    def cut_stuck_workers(self) -> None:
        """A worker whose step is past its timeout by 5 s could not end it itself: it is frozen. Its lease is cut."""
        with connection.cursor() as cursor:
            cursor.execute(_IN_FLIGHT)
            for name, version, step, worker, seconds in cursor.fetchall():
                limit = _longest(name, version, step)
                if float(seconds) > limit + STUCK_AFTER:
                    log.warning("cutting the lease of worker %s: step %s has run for %.0f s", worker, step, seconds)
                    cursor.execute(_CUT, [worker])

    def ring(self) -> int:
        """Ring for what is due and was not rung for lately."""
        now = time.monotonic()
        self.rung = {mark: at for mark, at in self.rung.items() if now - at < RING_AGAIN}
        with connection.cursor() as cursor:
            cursor.execute(_DUE, {"limit": BATCH + len(self.rung), "each": CALLED})
            due = [row for row in cursor.fetchall() if row not in self.rung]
        for mark in due:
            if not bell.ring(mark[0]):
                break
            self.rung[mark] = now
        return len(due)

    def alive(self) -> None:
        """Leave a mark for readiness."""
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO engine_heartbeat (name, at) VALUES ('sweeper', clock_timestamp()) "
                           "ON CONFLICT (name) DO UPDATE SET at = excluded.at")  # fmt: skip

    def _each(self, candidates: Iterable[Any], act: Callable[[Any], object], pushed: PushedBack, key: Any = None) -> int:
        acted = 0
        for candidate in candidates:
            name = key(candidate) if key else candidate
            try:
                acted += bool(act(candidate))
                pushed.done(name)
            except (OperationalError, InterfaceError) as error:
                if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                log.warning("%s is locked by somebody else; pushed back", name)
                pushed.push(name)
            except Exception:
                log.exception("sweep failed for %s; pushed back", name)
                pushed.push(name)
        return acted

    def wait_for_no_lock(self) -> None:
        """Whoever freezes with a row locked must not stop the sweep, which alone can end him."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{PATIENCE}'")

    def _acts(self) -> bool:
        self.wait_for_no_lock()
        return bool(_one(f"SELECT pg_try_advisory_lock({SWEEPER_LOCK})"))

    def _stop(self, *_: object) -> None:
        self.stopping = True


def _longest(name: str, version: str, step: str) -> float:
    """Seconds that a worker may be silent in the step: its calls of author's code, each with a timeout, between two writes."""
    try:
        workflow = registry.version(name, version)
        found = workflow.find(step)
    except LookupError:
        return DEFAULT_TIMEOUT
    limit = found.timeout
    if found.kind == "gate" or found.confirm:
        limit += found.timeout + (found.settle if found.confirm else 0.0)
    if found.approved_by:
        limit += workflow.steps[found.approved_by].timeout
    return limit


def _one(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]
