"""A state's schema as a person reads it: one line a field."""

from dataclasses import dataclass
from typing import Any

from workflows import State, masking


@dataclass(frozen=True)
class Field:
    name: str
    kind: str
    words: str
    required: bool
    default: Any
    secret: bool


def fields(schema: type[State]) -> list[Field]:
    """In the author's order."""
    found = schema.model_json_schema()
    needed, secret = found.get("required", ()), masking.secret_fields(schema)
    return [
        Field(
            name,
            _kind(one, found.get("$defs", {})),
            one.get("description", ""),
            name in needed,
            one.get("default"),
            name in secret,
        )
        for name, one in found.get("properties", {}).items()
    ]


def _kind(one: dict[str, Any], known: dict[str, Any]) -> str:
    """``list of Contact``, ``text or nothing``, ``one of collect, standard``."""
    if "$ref" in one:
        name = str(one["$ref"]).rpartition("/")[2]
        return _kind(known[name], {}) if "enum" in known.get(name, {}) else name
    if "enum" in one or "const" in one:
        return f"one of {', '.join(map(str, one.get('enum', [one.get('const')])))}"
    if parts := one.get("anyOf") or one.get("oneOf"):
        return " or ".join(_kind(part, known) for part in parts)
    kind = str(one.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(one.get('items', {}), known)}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no", "null": "nothing"}
    return words.get(kind, kind) + (f" ({one['format']})" if "format" in one else "")
