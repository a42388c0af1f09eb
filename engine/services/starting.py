"""Starting a run."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from checkpoints import packing, sealing, store
from runs import bell, places
from runs.access import require
from runs.clock import database_now
from runs.invalid import FieldsInvalid
from runs.models import Act, Run
from runs.services import audit, journal, moves
from workflows import Workflow, codec, masking, registry
from workflows import state as states

LABEL_KEY = re.compile(r"[\w.-]{1,60}")
LABEL_LIMIT = 30
REASON_LIMIT = 2000  # characters
FORK_KEY = "fork:"  # what a fork's own key begins with


class InputInvalid(FieldsInvalid):
    """The input, the labels or the key are refused."""


class KeyTaken(Exception):
    """The idempotency key belongs to a run with other input."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__("This idempotency_key was used for a run with other input.")


def start(
    *, workflow: str, input: Any, by: Any, labels: Mapping[str, str] | None = None, idempotency_key: str | None = None
) -> tuple[Run, bool]:
    """Start a run on validated input; the run and whether it is new. The same key and input give the same run.

    Raises NotPermitted, registry.WorkflowUnknown, InputInvalid, KeyTaken.
    """
    require(by, "operate")
    definition = registry.newest(workflow)
    try:
        state = definition.state.parse(input)
        values = states.plain(state)
        codec.dumps(input)
    except states.StateInvalid as error:
        raise InputInvalid(
            {f"input.{name}".replace("input.input", "input"): text for name, text in error.errors.items()}
        ) from None
    except ValueError as error:
        raise InputInvalid({"input": str(error)}) from None
    labels = _checked_labels(labels)
    _check_key(idempotency_key)
    shown = masking.masked(definition.state, input)  # secrets are in its first checkpoint alone, sealed
    if idempotency_key is not None and (known := _known(workflow, idempotency_key)) is not None:
        return _same(known, shown, values), False
    try:
        with transaction.atomic():
            run = Run.objects.create(
                workflow=definition.name, version=definition.version, step=definition.first(), input=shown,
                labels=labels, idempotency_key=idempotency_key, created_by=by, starters=[by.pk],
                deadline_at=deadline_of(definition),
            )  # fmt: skip
            write_first(run, definition, states.Change(state, values, {}, {}))
            audit.record(
                by,
                Act.STARTED,
                run=run,
                changed={"input_sha256": journal.content_hash([codec.dumps(shown).decode()]).hex(), "labels": labels},
            )
            moves.poke_on_commit(run)
            bell.ring_on_commit(run.pk)
    except IntegrityError:
        known = _known(workflow, idempotency_key or "")
        if known is None:
            raise
        return _same(known, shown, values), False  # another request with this key was first
    run.refresh_from_db()
    return run, True


def write_first(run: Run, workflow: Workflow[Any], change: states.Change, *, visit: int = 0) -> packing.Since:
    """Write the checkpoint that the run's history begins with; what the next one is packed with."""
    start, since = places.Start(visit=visit), packing.Since()
    packed = packing.pack(run.pk, workflow.state, start, change, since, next_step=run.step, step=start.step, keyframe=True)
    store.write(run.pk, packed)
    return since


def check_reason(reason: str) -> None:
    """Raises InputInvalid for what is no reason that a person would write, or that cannot be stored."""
    if len(reason) > REASON_LIMIT or "\0" in reason:
        raise InputInvalid({"reason": f"text of at most {REASON_LIMIT} characters, without NUL, was expected"})


def deadline_from_now(run: Run) -> datetime | None:
    """The deadline of a run that starts, or is tried again, now."""
    return deadline_of(registry.version(run.workflow, run.version))


def deadline_of(workflow: Workflow[Any]) -> datetime | None:
    """The deadline of a run of the workflow that starts now."""
    return None if workflow.deadline is None else database_now() + timedelta(seconds=workflow.deadline)


def _known(workflow: str, key: str) -> Run | None:
    return Run.objects.filter(workflow=workflow, idempotency_key=key).first()


def _same(run: Run, shown: Any, values: Mapping[str, Any]) -> Run:
    """The run that has the key, if its input is the same. A pruned one's is not known any more; it is not started twice."""
    if run.pruned_at is not None:
        return run
    if run.input != codec.loads(codec.dumps(shown)):
        raise KeyTaken(run)
    sealed = {name: value for name, value in store.load(run.pk, 0).values.items() if isinstance(value, masking.Sealed)}
    if any(not codec.same(value, values.get(name)) for name, value in sealing.opened(run.pk, sealed).items()):
        raise KeyTaken(run)
    return run


def _checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    errors: dict[str, str] = {}
    for key, value in (labels or {}).items():
        if not LABEL_KEY.fullmatch(key):
            errors[f"labels.{key[:60]}"] = "a key of up to 60 letters, digits, . _ - was expected"
        elif not isinstance(value, str) or len(value) > 200 or "\0" in value:
            errors[f"labels.{key}"] = "text of up to 200 characters was expected"
    if len(labels or {}) > LABEL_LIMIT:
        errors["labels"] = f"at most {LABEL_LIMIT} labels were expected"
    if errors:
        raise InputInvalid(errors)
    return dict(labels or {})


def _check_key(key: str | None) -> None:
    if key is not None and (not key or len(key) > 200 or "\0" in key or key.startswith(FORK_KEY)):
        raise InputInvalid({"idempotency_key": f"text of 1 to 200 characters, not beginning with {FORK_KEY!r}, was expected"})
