"""Upgrading an old state's values to the schema's version, whenever they are loaded. What is stored stays as it was written."""

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from workflows.errors import MigrationMissing

if TYPE_CHECKING:
    from workflows.state import State


def upgraded(kind: "type[State]", values: Mapping[str, Any], version: int) -> dict[str, Any]:
    """``values`` of schema ``version`` as the newest version has them. Raises MigrationMissing, with the remedy."""
    found = dict(values)
    if version > kind.schema_version:
        raise MigrationMissing(
            f"The state has schema version {version}, and {kind.__name__} is at {kind.schema_version}: it was written by a "
            f"newer deployment. Deploy that one again."
        )
    for step in range(version, kind.schema_version):
        migrate = kind.migrations.get(step)
        if migrate is None:
            raise MigrationMissing(
                f"The state has schema version {version}, and {kind.__name__} is at {kind.schema_version}. Add "
                f"@{kind.__name__}.migrate(from_version={step}), which takes the old dict and returns the new one, and deploy."
            )
        try:
            found = migrate(deepcopy(found))
        except Exception as error:
            name = getattr(migrate, "__name__", "it")
            raise MigrationMissing(
                f"{kind.__name__}.migrate(from_version={step}) failed in {name!r}: {type(error).__name__}: {error}. "
                f"Mend it, and deploy."
            ) from error
        if not isinstance(found, dict):
            raise MigrationMissing(
                f"{kind.__name__}.migrate(from_version={step}) returned {type(found).__name__}; a dict was expected."
            )
    return found
