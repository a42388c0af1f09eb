"""What the finished steps of a run have cost: what a restart from the beginning would cost again."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import F

from runs import hot
from runs.models import Run

# A decided gate has no ``started_at``: a person's time is not counted.
_SPENT = """
SELECT coalesce(sum((usage->>'input_tokens')::bigint + (usage->>'output_tokens')::bigint), 0),
       coalesce(sum((usage->>'cost_usd')::numeric), 0),
       coalesce(sum(extract(epoch FROM at - started_at)), 0)
FROM checkpoints_checkpoint WHERE run_id = %(run)s
"""


@dataclass(frozen=True)
class Spared:
    """Tokens, dollars, and seconds of work."""

    tokens: int
    cost_usd: Decimal
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "cost_usd": float(self.cost_usd), "seconds": round(self.seconds, 3)}

    def added(self) -> dict[str, Any]:
        """As the run's fields: this resume's share on top of the earlier ones'."""
        return {
            "saved_tokens": F("saved_tokens") + self.tokens,
            "saved_cost_usd": F("saved_cost_usd") + self.cost_usd,
            "saved_seconds": F("saved_seconds") + self.seconds,
        }


def spared(run: Run) -> Spared:
    """What resuming the run now saves against starting it anew: the usage and duration of all its checkpoints."""
    tokens, cost, seconds = hot.one(_SPENT, {"run": run.pk})
    return Spared(int(tokens), Decimal(cost), float(seconds))
