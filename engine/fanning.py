"""Fan-out and fan-in: the boundary that sends branches out, and the one that joins what they brought."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connection

from engine import boundary, endings
from engine.claim import Claimed
from engine.context import RunCtx
from engine.insisting import insist
from engine.lease import HELD_KEYS
from runs import bell
from runs.models import Branch, FanOut, Kind
from runs.moves import BranchStatus
from runs.places import arrival
from runs.services import journal, moves
from workflows import Workflow, answers, codec, joining
from workflows import state as states
from workflows.attempts import failure

if TYPE_CHECKING:
    from engine.stretch import Stretch

_SEND = """
INSERT INTO runs_branch (run_id, fan_out_id, index, arg, step, status, visit, attempt, failures, losses, doubt_reason,
    boundary, claim, input_tokens, output_tokens, cost_usd, done, told_steps, available_at, updated_at)
SELECT %(run)s, %(fan_out)s, number - 1, sent->'arg', sent->>'step', 'queued', 1, 1, 0, 0, '', 0, 0, 0, 0, 0, '[]', 0,
    %(at)s, %(at)s
FROM jsonb_array_elements(%(sends)s::jsonb) WITH ORDINALITY AS all_of_them(sent, number)
"""
_WORKERS = f"SELECT count(*) FROM ({HELD_KEYS}) AS held"


def check(workflow: Workflow[Any], fan_out: answers.FanOut | None) -> None:
    """Raises LookupError for a Send to what is no branch step."""
    for send in fan_out.sends if fan_out is not None else ():
        if send.step not in workflow.branches:
            known = ", ".join(workflow.branches) or "none; define one with @workflow.branch"
            raise LookupError(f"Send({send.step!r}): no such branch step; known are {known}")


@insist
def fan_out(stretch: "Stretch", sent: answers.FanOut, join: str, change: states.Change, ctx: RunCtx) -> bool:
    """The sender's boundary: its checkpoint, the branches, and the run at its join in nobody's hands, in one commit."""
    run = stretch.run
    ctx.outcome = "done"
    with boundary.fenced(run) as row:
        stretch.write_checkpoint(change, ctx)
        steps = Counter(send.step for send in sent.sends)
        detail = {"of": len(sent.sends), "branches": steps, "join": join, "max_parallel": sent.max_parallel,
                  "on_failure": sent.on_failure}  # fmt: skip
        seq = moves.record(row, journal.Entry(Kind.FAN_OUT, run.step, run.attempt, "", detail))
        created = FanOut.objects.create(
            run=row, seq=seq, sender=run.step, part=sent.sends[0].step, join_visit=run.visit + 2, total=len(sent.sends),
            max_parallel=sent.max_parallel, on_failure=sent.on_failure,
        )  # fmt: skip
        _insert(run, created, sent)
        moves.move(row, "fan_out", **arrival(row, join), fan_out=created, **endings.spend(row, ctx))
        for _ in range(_helpers(sent)):
            bell.ring_on_commit(run.id)
    stretch.fanned_out = True
    return False


def _insert(run: Claimed, created: FanOut, sent: answers.FanOut) -> None:
    sends = codec.dumps([{"step": send.step, "arg": send.arg} for send in sent.sends]).decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT holdfast_now()")
        values = {"run": run.id, "fan_out": created.pk, "sends": sends, "at": cursor.fetchone()[0]}
        cursor.execute(_SEND, values)


def _helpers(sent: answers.FanOut) -> int:
    """How many other workers are called: this one goes on with the first branch."""
    with connection.cursor() as cursor:
        cursor.execute(_WORKERS)
        workers = int(cursor.fetchone()[0])
    return min(workers, len(sent.sends), sent.max_parallel or len(sent.sends)) - 1


@insist
def join(stretch: "Stretch") -> bool:
    """The boundary before the join: what all branches returned becomes the state's next checkpoint."""
    run, ctx = stretch.run, RunCtx(stretch.run)
    assert run.fan_out is not None
    fanned = FanOut.objects.get(pk=run.fan_out)
    ended = Branch.objects.filter(fan_out=fanned, status=BranchStatus.SUCCEEDED).order_by("index")
    try:
        updates = joining.joined(stretch.state, list(ended.values_list("index", "done")))
        change = states.apply(stretch.state, stretch.values, updates)
    except states.StateInvalid as error:
        return endings.fail(run, failure(error, stretch.workflow.find(fanned.part)), ctx)
    target = run.step
    run.step = run.began_as = fanned.part
    return stretch.advance(target, change, ctx)
