"""Forking: a new run that goes on from another run's checkpoint. The origin's history is never touched."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from checkpoints import store, verifying
from engine import fork_plan, inheriting, reusing
from engine.services import controls
from engine.services.starting import InputInvalid, check_reason, deadline_of, write_first
from runs import bell
from runs.access import require
from runs.models import Act, Kind, Run
from runs.services import audit, journal, moves
from workflows import state as states

SOURCES = ("leave", "hold", "cancel")  # what becomes of the run that is forked


def fork(
    run_id: Any, *, by: Any, seq: int, changes: Mapping[str, Any] | None = None, effects: fork_plan.Modes = fork_plan.REUSE,
    source: str = "leave", reason: str = "", version: str | None = None, key: str | None = None,
) -> Run:  # fmt: skip
    """Start a run from the checkpoint at or before ``seq``, with ``changes`` set in its state. The same ``key``: the same run.

    Raises NotPermitted (only admins fork), MoveRefused, and what ``fork_plan.make`` does.
    """
    require(by, "administer")
    check_reason(reason)
    if source not in SOURCES:
        raise InputInvalid({"source": f"one of {', '.join(SOURCES)} was expected, not {source[:100]!r}"})
    origin = Run.objects.get(pk=run_id)
    asked = (seq, changes, effects, source, reason, version)
    own_key = None if key is None else fork_plan.key_of(origin, by, key, *asked)
    if own_key is not None and (known := _known(origin, own_key)) is not None:
        return known
    try:
        return _fork(run_id, by, seq, changes, effects, source, reason, version, own_key)
    except IntegrityError:
        known = None if own_key is None else _known(origin, own_key)
        if known is None:
            raise
        return known  # another request with this key was first
    except store.HistoryBroken as error:
        verifying.note(error)  # after its transaction
        raise


@transaction.atomic
def _fork(
    run_id: Any, by: Any, seq: int, changes: Mapping[str, Any] | None, effects: fork_plan.Modes, source: str, reason: str,
    version: str | None, own_key: str | None,
) -> Run:  # fmt: skip
    origin = moves.lock(run_id)  # nothing is pruned, and nothing written, under the plan
    plan = fork_plan.make(origin, seq, changes=changes, effects=effects, version=version)
    plan.check()
    run = Run.objects.create(
        workflow=plan.workflow.name, version=plan.workflow.version, step=plan.step, visit=plan.visit,
        steps_allowed=plan.visit - 1 + plan.workflow.max_steps, input=origin.input, labels=origin.labels,
        idempotency_key=own_key, created_by=by, starters=sorted({*origin.starters, by.pk}), forked_from=origin,
        forked_at_seq=plan.at.seq, reuse=reusing.plan(plan.visits), deadline_at=deadline_of(plan.workflow),
    )  # fmt: skip
    first = states.Change(plan.found.state, plan.found.values, {}, {})
    since = write_first(run, plan.workflow, first, visit=plan.visit - 1)
    detail = {
        "run": str(origin.pk),
        "seq": plan.at.seq,
        "changed": fork_plan.in_short(plan),
        "effects": {one.step.name: one.mode for one in plan.ahead if one.mode},
        "source": source,
        "reason": reason,
    }
    moves.record(run, journal.Entry(Kind.FORKED, run.step, None, by.get_username(), detail))
    audit.record(by, Act.FORKED, run=run, reason=reason, seen={"run": str(origin.pk), "seq": origin.seq}, changed=detail)
    if plan.change is not None:
        store.write_change(run, plan.workflow.state, plan.change, since, next_step=run.step, step="")
    inheriting.decisions_until(origin, plan.at, run, plan.workflow)
    if source != "leave":
        act = controls.hold if source == "hold" else controls.cancel
        act(origin.pk, by=by, reason=f"forked as …{run.short_id}" + (f": {reason}" if reason else ""))
    moves.poke_on_commit(run)
    bell.ring_on_commit(run.pk)
    run.refresh_from_db()
    return run


def _known(origin: Run, own_key: str) -> Run | None:
    return Run.objects.filter(workflow=origin.workflow, idempotency_key=own_key).first()
