"""From a decision's commit to the first line of the next step, against a bare Celery task on the same broker."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import current_app
from django.contrib.auth.models import User

from approvals.models import Gate
from approvals.services.deciding import decide
from benchmarks.figures import Figure, median, quantile
from engine.services import starting
from runs.models import Run

GATES = 200


def measure() -> list[Figure]:
    """Both one at a time, in turn, so that the machine's moods hit both."""
    user = User.objects.get(username="bench")
    gates = _waiting(user)
    resumed, bare = [], []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bare"
        path.touch()
        for gate in gates:
            resumed.append(_resume(gate, user))
            bare.append(_bare(path))
    figures = []
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        ours, theirs = quantile(resumed, share), quantile(bare, share)
        text = f"bare Celery {theirs * 1e3:.2f} ms, ratio {ours / theirs:.2f} ×"
        figures.append(Figure(f"decision → next step, {name}", f"{ours * 1e3:.2f} ms", text))
    return [
        *figures,
        Figure("decision → next step, median of both", f"{median(resumed) / median(bare):.2f} ×", f"{GATES} gates"),
    ]


def _waiting(user: User) -> list[Gate]:
    runs = [starting.start(workflow="bench-deciding", input={}, by=user)[0] for _ in range(GATES + 5)]
    while Run.objects.filter(pk__in=[run.pk for run in runs], status="waiting").count() < len(runs):
        time.sleep(0.1)
    gates = list(Gate.objects.filter(run__in=runs))
    for gate in gates[:5]:  # warm
        _resume(gate, user)
    return gates[5:]


def _resume(gate: Gate, user: User) -> float:
    began = time.monotonic()
    decide(gate.pk, by=user, verdict="approve", version=1, proposal_hash=gate.proposal_hash, channel="api")
    while not Run.objects.filter(pk=gate.run_id, status="succeeded").exists():
        time.sleep(0.002)
    last = Run.objects.get(pk=gate.run_id).checkpoints.order_by("-seq").first()
    assert last is not None
    return float(last.values()["began"]) - began


def _bare(path: Path) -> float:
    before = len(path.read_text().splitlines())
    current_app.send_task("bench.bare", args=[time.monotonic(), str(path)], queue="runs")
    while len(lines := path.read_text().splitlines()) == before:
        time.sleep(0.002)
    return float(lines[-1])
