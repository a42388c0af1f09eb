"""The state as author's code is given it: opened, upgraded to the schema, and validated."""

import uuid
from dataclasses import dataclass
from typing import Any

from checkpoints import sealing, store
from checkpoints.packing import Since
from workflows import masking
from workflows.errors import MigrationMissing
from workflows.migrating import upgraded
from workflows.state import State, plain


@dataclass(frozen=True)
class Current:
    """``values`` is the plain JSON of ``state``. Secrets stand in both as they are: never to be shown."""

    state: State
    values: dict[str, Any]
    since: Since


def of(run_id: uuid.UUID, kind: type[State], loaded: store.Loaded) -> Current:
    """Raises StateUnreadable, with the remedy, and StateInvalid where the schema refuses what is stored."""
    opened = sealing.opened(run_id, loaded.values)
    try:
        values = upgraded(kind, opened, loaded.schema_version)
    except MigrationMissing as error:  # what the author's code says may repeat a secret
        texts = masking.texts_in(opened[name] for name, value in loaded.values.items() if isinstance(value, masking.Sealed))
        raise MigrationMissing(masking.scrubbed(str(error), texts)) from None
    state = kind.parse(values)
    if loaded.schema_version != kind.schema_version:  # with the defaults of what is new
        values = plain(state)
    return Current(state, values, loaded.since)


def at(run_id: uuid.UUID, kind: type[State], seq: int) -> Current:
    """The same for the checkpoint at or before ``seq``. Raises also what ``store.load`` does."""
    return of(run_id, kind, store.load(run_id, seq))
