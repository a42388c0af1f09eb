"""Fan-out and fan-in: trivial branches a second and the join's latency, against Celery's group and chord; and the memory."""

import time

from django.conf import settings
from django.contrib.auth.models import User

from benchmarks import chord
from benchmarks.figures import Figure, median, memory
from engine.services import starting
from runs.models import Branch, Run
from tests.stack import Stack, processes_of

SIZE = 1000
ROUNDS = 7
MANY = 10_000


def measure(stack: Stack) -> list[Figure]:
    """Both in turn, two worker processes each."""
    user = User.objects.get(username="bench")
    ours, theirs = [], []
    with chord.worker(settings.BROKER_URL):
        _holdfast(user, 50)
        chord.fan_out(50)
        for _ in range(ROUNDS):
            ours.append(_holdfast(user, SIZE))
            theirs.append(chord.fan_out(SIZE))
    rate, their_rate = (median([one[0] for one in found]) for found in (ours, theirs))
    late, their_late = (median([one[1] for one in found]) for found in (ours, theirs))
    chord_text = f"Celery group {their_rate:.0f}/s, ratio {rate / their_rate:.2f} ×"
    join_text = f"Celery chord {their_late * 1e3:.1f} ms, ratio {late / their_late:.2f} ×"
    return [
        Figure(f"{SIZE} trivial branches", f"{rate:.0f}/s", chord_text),
        Figure("last branch → join", f"{late * 1e3:.1f} ms", join_text),
        *_memory(stack, user),
    ]


def _holdfast(user: User, size: int) -> tuple[float, float]:
    run = Run.objects.get(pk=starting.start(workflow="bench-fan", input={"size": size}, by=user)[0].pk)
    while run.status != "succeeded":
        time.sleep(0.02)
        run.refresh_from_db(fields=["status"])
    sent = run.checkpoints.get(step="fan")
    last = Branch.objects.filter(run=run).order_by("-finished_at").values_list("finished_at", flat=True)[0]
    joined = run.checkpoints.get(step="fan_in").started_at
    assert sent.started_at is not None and last is not None and joined is not None
    return size / (last - sent.started_at).total_seconds(), (joined - last).total_seconds()


def _memory(stack: Stack, user: User) -> list[Figure]:
    """The most that each process has had in memory, while somebody watches 10,000 branches and pages through them."""
    pids = {pid: name for pid, command in processes_of(stack.folder).items() if (name := _role(command))}
    before = {pid: memory(pid) for pid in pids}
    api = stack.api("alice")
    began = time.monotonic()
    run = starting.start(workflow="bench-fan", input={"size": MANY}, by=user)[0]
    while Run.objects.get(pk=run.pk).status != "succeeded":
        api.get(f"/api/runs/{run.pk}")
        api.get(f"/api/runs/{run.pk}/branches", params={"limit": 200})
        time.sleep(0.1)
    took = time.monotonic() - began
    figures = [Figure(f"{MANY} branches", f"{took:.1f} s", f"{MANY / took:.0f}/s, while its page is read")]
    for role in ("web", "worker"):
        most = max((memory(pid), before[pid]) for pid, name in pids.items() if name == role)
        figures.append(Figure(f"memory, {role} process", f"{most[0]:.0f} MB", f"{most[1]:.0f} MB before"))
    return figures


def _role(command: str) -> str:
    if "celery" in command:
        return "worker"
    return "web" if "daphne" in command or "uvicorn" in command or "asgi" in command else ""
