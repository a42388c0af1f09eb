"""One checkpoint as people and programs look at it: never with a secret, and never with a migration in between."""

from collections.abc import Mapping
from typing import Any

from checkpoints import blob, comparing, contents, packing, sealing, store
from checkpoints.contents import Parts
from checkpoints.models import Checkpoint
from runs.models import Run
from workflows import codec, masking, registry
from workflows.errors import StateUnreadable
from workflows.keys import visit_key
from workflows.masking import Sealed


def checkpoint_as_json(run: Run, seq: int) -> dict[str, Any]:
    """State, delta and facts of the checkpoint at or before ``seq``. Raises CheckpointMissing, HistoryBroken."""
    row = store.find(run.pk, seq)
    state = state_at(run, row.seq)
    saw = _saw(run, row.step)
    delta = delta_of(run, row)
    return {
        "seq": row.seq,
        "step": row.step,
        "attempt": row.attempt,
        "state": state,
        "delta": delta,
        "saw": saw,
        "spared_bytes": _spared(run, row, saw),
        "returned": returned(delta, state),
        "usage": row.usage and {**row.usage, "cost_usd": float(row.usage["cost_usd"])},
        "idempotency_key": visit_key(run.pk, row.step, row.visit) if row.step and row.reused_from is None else None,
        "reused_from": row.reused_from,
        "next_step": row.next_step,
        "digest": bytes(row.digest).hex(),
        "schema_version": row.schema_version,
        "created_at": row.at,
    }


def state_at(run: Run, seq: int) -> dict[str, Any]:
    """The state as it was stored, its fields in the schema's order, secrets masked."""
    return shown(run, store.load(run.pk, seq).values)


def shown(run: Run, values: Mapping[str, Any]) -> dict[str, Any]:
    """A loaded state's values, its fields in the schema's order, secrets masked."""
    schema = registry.schema(run.workflow, run.version)
    order = [name for name in schema.model_fields if name in values] if schema is not None else []
    return masking.masked(schema, {name: values[name] for name in (*order, *(set(values) - set(order)))})


def delta_of(run: Run, row: Checkpoint) -> dict[str, Any]:
    """What the step changed: ``{"set", "append", "patch"}`` without empty parts, secrets masked. Raises HistoryBroken."""
    if row.delta is None:
        return {}
    try:
        found: dict[str, dict[str, Any]] = packing.read(blob.unpack(row.delta))
        large = [value for how in ("set", "append") for value in found[how].values() if isinstance(value, Parts)]
        pieces = contents.fetch(run.pk, {one for value in large for one in value.hashes})
        for how in ("set", "append"):
            found[how] = {name: v.put_together(pieces) if isinstance(v, Parts) else v for name, v in found[how].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise store.HistoryBroken(run.pk, row.seq, str(error)) from None
    schema = registry.schema(run.workflow, run.version)
    return {how: masking.masked(schema, part) for how, part in found.items() if part}


def returned(delta: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What the step returned, as far as it changed anything: the items of what it appended, else the fields as they are."""
    whole = {**delta.get("set", {}), **{name: state.get(name) for name in delta.get("patch", {})}}
    return {**whole, **delta.get("append", {})}


def compare(run: Run, a: int, other: Run, b: int) -> tuple[int, int, list[comparing.Difference]]:
    """The seqs of both checkpoints, and how the first state becomes the second. Raises CheckpointMissing, HistoryBroken."""
    first, second = store.load(run.pk, a), store.load(other.pk, b)
    changed = None if run.pk == other.pk else _secrets_that_differ(run, first.values, other, second.values)
    old, new = _sealed_as_known(run, first.values), _sealed_as_known(other, second.values)
    return first.seq, second.seq, list(comparing.of_states(old, new, changed))


def _sealed_as_known(run: Run, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema calls secret now, and was stored before it did, is hidden as what is sealed."""
    secret = masking.secret_fields(registry.schema(run.workflow, run.version))
    late = {name for name in secret if not masking.is_empty(values.get(name)) and not isinstance(values[name], Sealed)}
    return {**values, **{name: Sealed(codec.dumps(values[name]).decode()) for name in late}}


def _secrets_that_differ(run: Run, mine: Mapping[str, Any], other: Run, theirs: Mapping[str, Any]) -> set[str]:
    """Each run has a key of its own, so the values are compared; what cannot be opened counts as different."""
    names = {name for values in (mine, theirs) for name, value in values.items() if isinstance(value, Sealed)}
    differ = set()
    for name in names:
        try:
            one = sealing.opened(run.pk, {name: mine.get(name)})
            two = sealing.opened(other.pk, {name: theirs.get(name)})
        except StateUnreadable:
            differ.add(name)
        else:
            differ |= set() if codec.same(one[name], two[name]) else {name}
    return differ


def _saw(run: Run, step: str) -> list[str] | None:
    """The fields that the step declared with ``needs``; None: the whole state."""
    workflow = registry.known(run.workflow, run.version)
    found = workflow.steps.get(step) if workflow is not None else None
    return list(found.needs) if found is not None and found.needs is not None else None


def _spared(run: Run, row: Checkpoint, saw: list[str] | None) -> int | None:
    """Bytes of JSON of the state before the step that ``needs`` kept from it; None where it saw everything, or nobody knows."""
    if saw is None or row.seq == 0:
        return None
    try:
        before = state_at(run, row.seq - 1)
    except store.StatePruned:
        return None
    return sum(len(codec.dumps(value)) for name, value in before.items() if name not in saw)
