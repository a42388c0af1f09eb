"""What a gate shows: the proposal, and the action that it asks a person to allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

TITLE_LIMIT = 300  # characters
SUMMARY_LIMIT = 100_000


@dataclass(frozen=True)
class Action:
    """An action whose arguments are known only at run time. ``schema`` is a JSON Schema (2020-12) for ``args``."""

    name: str
    args: Mapping[str, Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})

    def as_json(self) -> dict[str, Any]:
        order = list(self.schema.get("properties") or self.args)
        return {"name": self.name, "args": dict(self.args), "schema": dict(self.schema), "order": order}


@dataclass(frozen=True)
class Proposal:
    """What the approver reads. ``summary`` is Markdown; ``context`` names the state keys to show beside it."""

    title: str
    summary: str = ""
    action: BaseModel | Action | None = None
    context: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.title, str) or not self.title.strip() or len(self.title) > TITLE_LIMIT:
            raise ValueError(f"a proposal needs a title of 1 to {TITLE_LIMIT} characters")
        if not isinstance(self.summary, str) or len(self.summary) > SUMMARY_LIMIT:
            raise ValueError(f"a proposal's summary is Markdown of at most {SUMMARY_LIMIT} characters")
        if self.action is not None and not isinstance(self.action, (BaseModel, Action)):
            raise ValueError(f"action={self.action!r}: a Pydantic instance or Action(name, args, schema) was expected")
        if isinstance(self.context, str):
            raise ValueError(f"context={self.context!r}: a list of state keys was expected")

    def action_as_json(self) -> dict[str, Any] | None:
        """``{name, args, schema, order}``, or None where nothing but a yes or no is asked."""
        if self.action is None:
            return None
        if isinstance(self.action, Action):
            return self.action.as_json()
        kind = type(self.action)
        return {
            "name": kind.__name__,
            "args": self.action.model_dump(mode="json"),
            "schema": kind.model_json_schema(by_alias=False),
            "order": list(kind.model_fields),  # jsonb keeps lists in order, and not keys
        }
