"""How a workflow does: how many of its runs go well, how long its steps take, what they cost."""

from dataclasses import dataclass
from typing import Any

from runs import hot

DAYS = 7
RUNS = 200  # the latest, in which steps are looked at

_ALL = f"""
SELECT workflow, count(*), count(*) FILTER (WHERE finished_at IS NULL), count(*) FILTER (WHERE status = 'succeeded'),
       count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE finished_at IS NOT NULL), sum(cost_usd)::float8,
       sum(saved_cost_usd)::float8, sum(saved_seconds),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8)
           FILTER (WHERE status = 'succeeded')
FROM runs_run WHERE created_at > holdfast_now() - interval '{DAYS} days' GROUP BY workflow
"""
_STEPS = f"""
WITH latest AS (SELECT id FROM runs_run WHERE workflow = %(workflow)s ORDER BY created_at DESC LIMIT {RUNS}),
done AS (
    SELECT step, count(*) AS visits, avg(coalesce((usage->>'cost_usd')::float8, 0)) AS cost,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM at - started_at)::float8) AS took
    FROM checkpoints_checkpoint WHERE run_id IN (SELECT id FROM latest) AND started_at IS NOT NULL GROUP BY step
), failed AS (
    SELECT step, count(*) AS attempts FROM runs_event
    WHERE run_id IN (SELECT id FROM latest) AND kind = 'attempt_failed' GROUP BY step
)
SELECT step, coalesce(visits, 0), coalesce(attempts, 0), coalesce(cost, 0), took FROM done FULL JOIN failed USING (step)
"""


@dataclass(frozen=True)
class Health:
    """Of the runs started in the last days; ``half`` and ``most`` are p50 and p95 of those that went well, in seconds."""

    runs: int = 0
    unfinished: int = 0
    succeeded: int = 0
    failed: int = 0
    ended: int = 0
    cost: float = 0.0
    saved_cost: float = 0.0
    saved_seconds: float = 0.0
    half: float | None = None
    most: float | None = None

    @property
    def success(self) -> float | None:
        """The share of those that ended."""
        return self.succeeded / self.ended if self.ended else None


@dataclass(frozen=True)
class StepHealth:
    """In the latest runs: finished visits, failed attempts, dollars a visit, p50 and p95 in seconds."""

    visits: int = 0
    failed: int = 0
    cost: float = 0.0
    half: float | None = None
    most: float | None = None


def of_all() -> dict[str, Health]:
    """By workflow; one without a run is not among them."""
    return {name: Health(*numbers, *(took or (None, None))) for name, *numbers, took in hot.rows(_ALL, {})}


def of_steps(workflow: str) -> dict[str, StepHealth]:
    rows: list[Any] = hot.rows(_STEPS, {"workflow": workflow})
    return {step: StepHealth(visits, failed, cost, *(took or (None, None))) for step, visits, failed, cost, took in rows}
