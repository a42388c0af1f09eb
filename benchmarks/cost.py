"""What failures cost: full restart against resume, side by side on the same workers.

The failure model: 100 runs of 5 steps; a step takes 0.2 s and $0.10, and then fails with probability 0.2, drawn from the same
seeds for both. Full restart is one step that does all five and begins anew when one fails, as a script in a task queue does;
resume is five steps. Both have the same ``Retry(attempts=12)``, without waiting in between.
"""

import time
from typing import Any

from django.contrib.auth.models import User

from benchmarks.figures import Figure
from benchmarks.workflows import COST_STEPS, STEP_SECONDS
from engine.services import starting
from runs.models import Run

RUNS = 100
AT_A_TIME = 2  # as many as there are workers, so that nobody waits for another run


def measure() -> list[Figure]:
    user = User.objects.get(username="bench")
    restart, resume = _total("bench-restart", user), _total("bench-resume", user)
    figures = []
    for name, unit, published in (
        ("cost", "${:.2f}", "$78.40 → $54.20, −31 %"),
        ("lost", "{:.1f} s", "142 s → 38 s, −73 %"),
        ("succeeded", "{:.0f} %", "94 % → 99 %"),
    ):
        before, after = restart[name], resume[name]
        change = f"{(after / before - 1) * 100:+.0f} %" if name != "succeeded" else f"{after - before:+.0f} points"
        title = {"cost": "money spent", "lost": "time lost to failures", "succeeded": "runs that succeeded"}[name]
        text = f"{change}; full restart {unit.format(before)} (published: {published})"
        figures.append(Figure(f"{title}, resume", unit.format(after), text))
    return figures


def _total(workflow: str, user: User) -> dict[str, float]:
    runs: list[Any] = []
    while len(runs) < RUNS or Run.objects.filter(pk__in=runs, finished_at=None).exists():
        if len(runs) < RUNS and Run.objects.filter(pk__in=runs, finished_at=None).count() < AT_A_TIME:
            runs.append(starting.start(workflow=workflow, input={"seed": len(runs)}, by=user)[0].pk)
        else:
            time.sleep(0.005)
    done: list[Any] = list(Run.objects.filter(pk__in=runs))
    # from the first attempt to the end, less what five steps take when nothing fails; of a run that failed all is lost
    ideal = {"succeeded": COST_STEPS * STEP_SECONDS}
    lost = sum((run.finished_at - run.started_at).total_seconds() - ideal.get(run.status, 0.0) for run in done)
    return {
        "cost": float(sum(run.cost_usd for run in done)),
        "lost": lost,
        "succeeded": 100.0 * sum(run.status == "succeeded" for run in done) / len(done),
    }
