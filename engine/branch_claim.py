"""Taking branches of a fan-out, and the statements that move one. They leave the run's row alone, which all of them share."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings

from checkpoints import current, store
from engine import claim, timelimit
from engine.claim import BRANCHES_MAY, Claimed, Part
from engine.services import settling
from runs import hot
from runs.models import FanOut, Run
from runs.moves import BRANCH_MOVES, Requested, Status
from workflows import Workflow, registry
from workflows import state as states
from workflows.errors import StateUnreadable

_COLUMNS = """id, index, arg, step, visit, attempt, failures, losses, boundary, claim, step_started_at, doubt_at, doubt_reason,
    saved, pause, done, slot"""
# The next branch that is due, and that may start; after a failed one none does, where it fails the run. Of a run that is to be
# cancelled, only effects in doubt are still looked up.
_NEXT = """
    SELECT due.id AS chosen FROM runs_branch AS due
    WHERE due.run_id = %(run)s AND due.status = 'queued' AND due.available_at <= holdfast_now()
        AND due.fan_out_id = %(fan_out)s {also}
    ORDER BY due.available_at, due.index LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
_MAY = f"""
        AND EXISTS (SELECT FROM runs_run WHERE id = %(run)s AND fan_out_id = %(fan_out)s AND {BRANCHES_MAY})
        AND (%(collects)s OR NOT EXISTS (SELECT FROM runs_branch WHERE fan_out_id = %(fan_out)s AND status = 'failed'))
"""
_LEARN = """
        AND due.doubt_at IS NOT NULL AND EXISTS (SELECT FROM runs_run WHERE id = %(run)s AND fan_out_id = %(fan_out)s
            AND status = 'running' AND worker IS NULL AND requested = 'cancel')
"""
_TAKE = f"""
UPDATE runs_branch AS branch SET
    status = 'running', worker = %(worker)s, claim = claim + 1, boundary = boundary + 1, slot = %(slot)s,
    started_at = coalesce(started_at, holdfast_now()), updated_at = holdfast_now(), step_started_at = holdfast_now()
FROM ({{which}}) AS due WHERE branch.id = due.chosen
RETURNING {_COLUMNS}
"""
_FIRST = _TAKE.format(which=_NEXT.format(also=_MAY))
_FIRST_IN_DOUBT = _TAKE.format(which=_NEXT.format(also=_LEARN))
_FREE_SLOT = """
SELECT place FROM generate_series(0, %(max_parallel)s - 1) AS places(place)
WHERE NOT EXISTS (SELECT FROM runs_branch WHERE fan_out_id = %(fan_out)s AND slot = place) ORDER BY random() LIMIT 1
"""
_KEEP = """
    done = done || (SELECT coalesce(jsonb_agg(step || jsonb_build_object('at', holdfast_now())), '[]')
        FROM jsonb_array_elements(%(kept)s::jsonb) AS kept(step)),
    boundary = boundary + 1, doubt_at = NULL, doubt_reason = '', saved = NULL, pause = NULL, updated_at = holdfast_now(),
    input_tokens = input_tokens + %(input_tokens)s, output_tokens = output_tokens + %(output_tokens)s,
    cost_usd = cost_usd + %(cost_usd)s, failures = 0, losses = 0
"""
_THIS = "id = %(this_run)s AND worker = %(this_worker)s AND claim = %(this_claim)s AND boundary = %(this_boundary)s"
# The last boundary of one branch takes the next, in one commit.
FINISH = f"""
WITH finished AS (
    UPDATE runs_branch SET {_KEEP}, status = '{BRANCH_MOVES["finish"][1]}', worker = NULL, slot = NULL, step_started_at = NULL,
        finished_at = holdfast_now()
    WHERE {_THIS} RETURNING id
), taken AS ({_TAKE.format(which=_NEXT.format(also=_MAY + " AND EXISTS (SELECT FROM finished)"))})
SELECT finished.id, taken.* FROM finished LEFT JOIN taken ON true
"""
ADVANCE = f"""
UPDATE runs_branch SET {_KEEP}, step = %(next_step)s, visit = visit + 1, attempt = 1, step_started_at = holdfast_now()
WHERE {_THIS} RETURNING step_started_at
"""
# Asked after each commit that has taken a branch: a hold or cancel that committed before it is seen here, one that commits
# later finds the branch running.
STILL = f"""
SELECT {BRANCHES_MAY}, cost_usd FROM runs_run WHERE id = %(run)s AND fan_out_id = %(fan_out)s
"""
_SOMEWHERE = """
SELECT id FROM runs_run AS run WHERE status = 'running' AND worker IS NULL AND requested IN ('', 'cancel') AND EXISTS (
    SELECT FROM runs_branch WHERE run_id = run.id AND status = 'queued' AND available_at <= holdfast_now()
        AND (run.requested = '' OR doubt_at IS NOT NULL)
) AND NOT holdfast_held(workflow) ORDER BY random() LIMIT 1
"""
SLOT_TRIES = 5  # others look for a free one at the same moment


@dataclass
class Entered:
    """A fan-out as a worker has come to it: what all of its branches share."""

    run: Run
    fan_out: FanOut
    worker: int
    workflow: Workflow[Any]
    state: states.State
    values: dict[str, Any]
    began: float

    def take(self) -> "tuple[Claimed, list[Any]] | None":
        """The next branch, and what its run says after that commit; None: there is none, or max_parallel of them run.

        Raises claim.NotTaken.
        """
        return self._take(_FIRST) or self._take(_FIRST_IN_DOUBT, requested=Requested.CANCEL)

    def _take(self, statement: str, requested: str = "") -> "tuple[Claimed, list[Any]] | None":
        for _ in range(SLOT_TRIES):
            values = self.asked()
            if self.fan_out.max_parallel is not None:
                free = hot.one(_FREE_SLOT, {"max_parallel": self.fan_out.max_parallel, **values})
                if free is None:
                    return None
                values["slot"] = free[0]
            try:
                with claim.nothing_taken():
                    rows, still = hot.then((statement, values), (STILL, values))
            except psycopg.errors.UniqueViolation:
                continue
            return (self.claimed(rows[0], requested), still) if rows else None
        return None

    def asked(self) -> dict[str, Any]:
        return {
            "run": self.run.pk,
            "fan_out": self.fan_out.pk,
            "worker": self.worker,
            "collects": self.fan_out.on_failure == "collect",
            "slot": None,
        }

    def claimed(self, row: Any, requested: str = "") -> "Claimed":
        """From the columns of a taken branch."""
        (pk, index, arg, step, visit, attempt_, failures, losses, boundary_, claim_, started_at, doubt_at, doubt_reason,
         saved, pause, done, slot) = row  # fmt: skip
        run = self.run
        return Claimed(
            id=run.pk, workflow=run.workflow, version=run.version, step=step, visit=visit, attempt=attempt_, failures=failures,
            losses=losses, boundary=boundary_, claim=claim_, worker=self.worker, seq=run.seq, requested=requested,
            started_at=started_at, doubt_at=doubt_at, doubt_reason=doubt_reason, saved=saved, cost_usd=run.cost_usd, digest=b"",
            steps_allowed=run.steps_allowed, cost_allowed=run.cost_allowed, breakpoints=[], deadline_at=run.deadline_at,
            pause=pause, fan_out=None, rolls_back_from=None,
            part=Part(pk, index, claim.unpacked(arg), self.fan_out.seq, claim.unpacked(done), slot),
        )  # fmt: skip

    def is_over(self) -> bool:
        """Whether this worker is to do something else now."""
        tired = time.monotonic() - self.began > settings.HOLDFAST_STRETCH
        return timelimit.is_stopping() or (tired and claim.others_due(self.run.pk))


def somewhere() -> uuid.UUID | None:
    """A run with a branch that is due."""
    row = hot.one(_SOMEWHERE, {})
    return None if row is None else row[0]


def enter(run_id: uuid.UUID, worker: int) -> Entered | None:
    runs = Run.objects.defer("input").select_related("fan_out")
    run = runs.filter(pk=run_id, status=Status.RUNNING, worker=None, fan_out__isnull=False).first()
    if run is None or run.fan_out is None:
        return None
    try:
        workflow = registry.version(run.workflow, run.version)
        found = current.at(run.pk, workflow.state, run.fan_out.seq)
    except (store.HistoryBroken, registry.WorkflowUnknown, states.StateInvalid, StateUnreadable) as error:
        settling.hold(run.pk, f"{error} Its branches are not carried on.")
        return None
    return Entered(run, run.fan_out, worker, workflow, found.state, found.values, time.monotonic())
