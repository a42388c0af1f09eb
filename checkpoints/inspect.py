"""One checkpoint as people and programs look at it."""

from typing import Any

from checkpoints import blob, packing, store
from checkpoints.models import Checkpoint
from runs.models import Run
from workflows import codec, masking, registry
from workflows.keys import visit_key


def checkpoint_as_json(run: Run, seq: int) -> dict[str, Any]:
    """State, delta and facts of the checkpoint at or before ``seq``. Raises CheckpointMissing, HistoryBroken."""
    row = store.find(run.pk, seq)
    loaded = store.load(run.pk, row.seq)
    schema = registry.schema(run.workflow, run.version)
    saw = _saw(run, row.step)
    delta = packing.read(blob.unpack(row.delta or b""))
    shown = {how: masking.masked(schema, fields) for how, fields in delta.items()}
    return {
        "seq": row.seq,
        "step": row.step,
        "attempt": row.attempt,
        "state": masking.masked(schema, loaded.values),
        "delta": shown,
        "saw": saw,
        "spared_bytes": _spared(run, row, saw),
        "returned": shown.get("set", {}) | shown.get("append", {}),
        "usage": row.usage and {**row.usage, "cost_usd": float(row.usage["cost_usd"])},
        "idempotency_key": visit_key(run.pk, row.step, row.visit) if row.step else None,
        "digest": bytes(row.digest).hex(),
        "schema_version": row.schema_version,
        "created_at": row.at,
    }


def _saw(run: Run, step: str) -> list[str] | None:
    """The fields that the step declared with ``needs``; None: the whole state."""
    try:
        found = registry.version(run.workflow, run.version).steps.get(step)
    except registry.WorkflowUnknown:
        return None
    return list(found.needs) if found is not None and found.needs is not None else None


def _spared(run: Run, row: Checkpoint, saw: list[str] | None) -> int | None:
    """Bytes of JSON of the state before the step that ``needs`` kept from it; None where it saw everything."""
    if saw is None or row.seq == 0:
        return None
    before = store.load(run.pk, row.seq - 1).values
    return sum(len(codec.dumps(value)) for name, value in before.items() if name not in saw)
