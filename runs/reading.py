"""Reading runs: as JSON, and their journal, which is events and checkpoints merged by ``seq``."""

import heapq
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from runs.clock import iso
from runs.models import Kind, Run
from runs.moves import Status
from workflows import codec, masking, registry

PAGE = 200


def earlier(entries: list[dict[str, Any]]) -> int | None:
    """Of a part of a journal: the seq before which there is more, or None."""
    return entries[0]["seq"] if entries and entries[0]["seq"] > 0 else None


def journal(
    run: Run, *, after: int = -1, before: int | None = None, newest_first: bool = False,
    kinds: Collection[str] = (), limit: int = PAGE,
) -> list[dict[str, Any]]:  # fmt: skip
    """Up to ``limit`` entries with ``after < seq < before``; ``kinds`` empty means all. Two queries at the most."""
    span: dict[str, Any] = {"seq__gt": after, **({"seq__lt": before} if before is not None else {})}
    order = "-seq" if newest_first else "seq"
    parts: list[Iterable[Any]] = []
    event_kinds = set(kinds) - {Kind.CHECKPOINT}
    if not kinds or event_kinds:
        events = run.events.filter(**span, **({"kind__in": event_kinds} if event_kinds else {}))
        parts.append(events.order_by(order)[:limit])
    if not kinds or Kind.CHECKPOINT in kinds:
        rows = run.checkpoints.filter(**span).defer("keyframe", "digest", "content_hash").order_by(order)[:limit]
        for row in rows:
            row.run = run  # known already; each would ask for it
        parts.append(rows)
    merged = heapq.merge(*parts, key=lambda row: row.seq, reverse=newest_first)
    return [row.as_entry() for _, row in zip(range(limit), merged, strict=False)]


def logs(run: Run, *, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
    """The log lines of up to ``limit`` entries after ``after``, and the ``after`` of the next page."""
    kept: Iterable[Any] = run.checkpoints.filter(seq__gt=after, logs__isnull=False).order_by("seq")[: limit + 1]
    failed: Iterable[Any] = run.events.filter(seq__gt=after, detail__contains='"logs":').order_by("seq")[: limit + 1]
    rows = list(heapq.merge(kept, failed, key=lambda row: row.seq))
    lines: list[dict[str, Any]] = []
    for row in rows[:limit]:
        found = codec.loads(row.logs) if hasattr(row, "logs") else codec.loads(row.detail).get("logs", [])
        lines += [{"seq": row.seq, "step": row.step, "attempt": row.attempt, **line} for line in found]
    return lines, rows[limit - 1].seq if len(rows) > limit else None


def run_as_json(run: Run) -> dict[str, Any]:
    """A run as lists and sockets show it: no state, no input."""
    return {
        "id": str(run.id),
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status,
        "requested": run.requested or None,
        "step": run.step,
        "attempt": run.attempt,
        "seq": run.seq,
        "labels": run.labels,
        "error": run.error,
        "reason": run.reason or None,
        "workflow_held": run.is_held_with_workflow,
        "breakpoints": run.breakpoints,
        "deadline_at": iso(run.deadline_at),
        "usage": {
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "cost_usd": float(run.cost_usd),
        },
        "saved": {
            "cost_usd": float(run.saved_cost_usd),
            "tokens": run.saved_tokens,
            "seconds": run.saved_seconds,
        },
        "created_at": run.created_at.isoformat(),
        "started_at": iso(run.started_at),
        "updated_at": run.updated_at.isoformat(),
        "finished_at": iso(run.finished_at),
        "available_at": None if run.available_at.year == 9999 else iso(run.available_at),
        "waits_for": run.signal_name or None,
        "rolling_back": run.rolls_back,
        "branches": run.parts,
        "history": {
            "broken_at": run.broken_at,
            "pruned_at": iso(run.pruned_at),
            "imported_at": iso(run.imported_at),
        },
        "forked_from": {"run": str(run.forked_from_id), "seq": run.forked_at_seq} if run.forked_from_id else None,
    }


def run_in_full(run: Run) -> dict[str, Any]:
    """A run as its own page and API call show it, with input, output and open gates."""
    schema = registry.schema(run.workflow, run.version)
    gates = run.gates.filter(status="open").order_by("ordinal")
    return {
        **run_as_json(run),
        "input": masking.masked(schema, run.input) if isinstance(run.input, dict) else run.input,
        "output": output(run),
        "gates": [
            {
                "id": str(gate.id),
                "step": gate.step,
                "kind": gate.kind,
                "title": gate.title,
                "due_at": iso(gate.due_at),
            }
            for gate in gates
        ],
    }


def output(run: Run) -> dict[str, Any] | None:
    """What a run that has succeeded leaves: its last state, or the part that the workflow's ``output`` names."""
    if run.status != Status.SUCCEEDED:
        return None
    last = run.checkpoints.order_by("-seq").first()
    if last is None:
        return None
    values: dict[str, Any] = last.values()
    workflow = registry.known(run.workflow, run.version)
    if workflow is None:
        return masking.masked(None, values)
    shown = masking.masked(workflow.state, values)
    fields = getattr(workflow.output, "model_fields", None)
    return shown if fields is None else {name: shown[name] for name in fields if name in shown}


def settled(run_id: uuid.UUID) -> bool:
    """Whether only people, or nobody, can move the run."""
    status = Run.objects.values_list("status", flat=True).get(pk=run_id)
    return status not in (Status.QUEUED, Status.RUNNING, Status.ROLLING_BACK)
