"""What a workflow's steps usually take and cost, from the runs that went well lately."""

from dataclasses import dataclass
from decimal import Decimal

from runs import hot

LATELY = 20  # runs

_USUAL = f"""
SELECT step, avg(extract(epoch FROM at - started_at)), avg(coalesce((usage->>'cost_usd')::numeric, 0))
FROM checkpoints_checkpoint WHERE started_at IS NOT NULL AND run_id IN (
    SELECT id FROM runs_run WHERE workflow = %(workflow)s AND status = 'succeeded' ORDER BY created_at DESC LIMIT {LATELY}
) GROUP BY step
"""


@dataclass(frozen=True)
class Usual:
    """Of one step, on average."""

    seconds: float
    cost_usd: Decimal


def of(workflow: str) -> dict[str, Usual]:
    """By step; a gate that people answered is not among them, for their time says nothing of the step."""
    rows = hot.rows(_USUAL, {"workflow": workflow})
    return {step: Usual(float(seconds), Decimal(cost)) for step, seconds, cost in rows}
