"""Taking an effect's recorded result in a fork, instead of doing it again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import blob, current, packing, store
from checkpoints.models import Checkpoint
from engine import boundary, endings
from engine.claim import Claimed
from engine.context import RunCtx
from engine.insisting import insist
from runs import bell
from runs.clock import Now
from runs.models import Run
from runs.places import arrival
from runs.services import moves
from workflows import Replace, Workflow, codec
from workflows import state as states
from workflows.errors import StateUnreadable
from workflows.steps import Step

if TYPE_CHECKING:
    from engine.stretch import Stretch

LIMIT = "reuse"  # what a run is held at whose recorded result cannot be taken; releasing it has the effect done


def name_of(run: Claimed, step: Step) -> str:
    """The name under which recorded results of the effect are kept, which may be one that it had; empty: there are none."""
    if not run.reuse or run.reuse.get("execute") == run.visit:
        return ""
    return next((name for name in step.names if name in run.reuse["visits"]), "")


def plan(visits: Mapping[str, list[list[int]]], *, execute: int | None = None) -> dict[str, Any] | None:
    """``Run.reuse``: what is still to be taken, and the visit in which the effect is done instead. None: nothing is left."""
    left = {name: found for name, found in visits.items() if found}
    return {"visits": left, **({"execute": execute} if execute is not None else {})} if left else None


def released(run: Run, step: Step) -> dict[str, Any] | None:
    """``Run.reuse`` after a person let the held run execute this visit; later ones may still be taken."""
    visits = (run.reuse or {}).get("visits", {})
    names = {name: found[1:] if name in step.names else found for name, found in visits.items()}
    return plan(names, execute=run.visit)


def take(stretch: "Stretch", step: Step, ctx: RunCtx) -> bool:
    """The effect's boundary with the origin's result; the run is held where the effect would see something else now."""
    run = stretch.run
    seqs = run.reuse["visits"][name_of(run, step)][0]
    again = "Releasing the run executes it; cancel the run where that must not be."
    try:
        before = current.at(run.forked_from, stretch.workflow.state, seqs[0] - 1)  # type: ignore[arg-type] # a fork has one
        after = current.at(run.forked_from, stretch.workflow.state, seqs[-1])  # type: ignore[arg-type]
    except (store.HistoryBroken, store.CheckpointMissing, StateUnreadable, states.StateInvalid) as error:
        return endings.hold(run, f"The recorded result of {step.name!r} cannot be read: {error} {again}", limit=LIMIT)
    rows = Checkpoint.objects.filter(run=run.forked_from, seq__in=seqs).order_by("seq")
    deltas = [packing.read(blob.unpack(row.delta or b"")) for row in rows]
    seen = set(before.values if step.needs is None else step.needs) | joined_by(stretch.workflow, deltas)
    differs = sorted(name for name in seen if not _same(before.values, stretch.values, name))
    if differs:
        text = f"The recorded result of {step.name!r} cannot be reused: it saw another {' and another '.join(differs)}."
        return endings.hold(run, f"{text} {again}", limit=LIMIT)
    try:
        change = states.apply(stretch.state, stretch.values, _updates(deltas, stretch.values, before, after))
    except states.StateInvalid as error:
        return endings.hold(run, f"The recorded result of {step.name!r} does not fit: {error}. {again}", limit=LIMIT)
    return _commit(stretch, step, change, stretch.target(_target(stretch, rows.last())), seqs[-1], ctx)


def joined_by(workflow: Workflow[Any], deltas: list[Any]) -> set[str]:
    """The fields that the effect's result was joined with by their reducer, so that it counts what was there before.

    Items that were appended do not: they are put behind what there is.
    """
    return {name for one in deltas for how in ("set", "patch") for name in one[how] if name in workflow.state.reducers}


def _same(old: dict[str, Any], new: dict[str, Any], name: str) -> bool:
    return name in old and name in new and codec.same(old[name], new[name])


def _updates(
    deltas: list[Any], values: dict[str, Any], before: current.Current, after: current.Current
) -> dict[str, Replace]:  # fmt: skip
    """What the effect's checkpoints changed; items that it appended are put behind what the fork has."""
    names: dict[str, set[str]] = {}
    for how, part in (item for one in deltas for item in one.items()):
        for name in part:
            names.setdefault(name, set()).add(how)
    found: dict[str, Replace] = {}
    for name, hows in names.items():
        if hows == {"append"}:
            added = after.values[name][len(before.values[name]) :]
            found[name] = Replace([*values[name], *added])
        elif name in after.values:
            found[name] = Replace(after.values[name])
    return found


def _target(stretch: "Stretch", row: Checkpoint | None) -> str:
    """Where the origin went on, by the name that the step has now."""
    goes_on = row.next_step if row is not None else "end"
    return goes_on if goes_on == "end" else stretch.workflow.current_name(goes_on)


@insist
def _commit(stretch: "Stretch", step: Step, change: states.Change, target: str, seq: int, ctx: RunCtx) -> bool:
    run = stretch.run
    with boundary.fenced(run) as row:
        packed = packing.pack(
            run.id, stretch.workflow.state, run, change, run.since, next_step=target, step=run.began_as, reused_from=seq
        )
        store.write(run.id, packed)
        name = name_of(run, step)
        visits = run.reuse["visits"]
        fields = {**arrival(row, target), "reuse": plan({**visits, name: visits[name][1:]})}
        ctx.outcome = "done"
        moves.move(row, "put_back", **fields, available_at=Now())
        bell.ring_on_commit(run.id)
    return False
