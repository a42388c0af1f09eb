"""Secrets: which fields they are, and what people see of them."""

import functools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from workflows import codec

if TYPE_CHECKING:
    from workflows.state import State

MASK = "••••••"
SHORTEST = 4  # characters of a secret text that is looked for in other texts; shorter ones would be found everywhere


class Secret:
    """Marks a field that is encrypted at rest, and that people see masked: ``Annotated[str, Secret]``."""


@dataclass(frozen=True)
class Sealed:
    """A secret value as it is stored. Nothing that shows values to people can open it."""

    token: str


def is_empty(value: Any) -> bool:
    """Whether there is no secret in a secret field."""
    return value is None or value in ("", [], {})


def secret_fields(kind: "type[State] | None") -> frozenset[str]:
    """The state's fields that are secret, or hold something that is. Without a schema nothing is known to be."""
    return frozenset() if kind is None else _secret_fields(kind)


@functools.cache
def _secret_fields(kind: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name for name, info in kind.model_fields.items() if _is_marked(info.metadata) or _holds_secret(info.annotation, (kind,))
    )


def _is_marked(marks: Iterable[Any]) -> bool:
    return any(mark is Secret or isinstance(mark, Secret) for mark in marks)


def _holds_secret(annotation: Any, above: tuple[Any, ...]) -> bool:
    """Also ``Annotated[str, Secret] | None``, lists of them, and models that have such a field."""
    if _is_marked(getattr(annotation, "__metadata__", ())):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in above:
        fields = annotation.model_fields.values()
        return any(_is_marked(info.metadata) or _holds_secret(info.annotation, (*above, annotation)) for info in fields)
    return any(_holds_secret(part, above) for part in typing.get_args(annotation))


def masked(kind: "type[State] | None", values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every secret field masked, as people see it."""
    secret = secret_fields(kind)
    return {
        name: MASK if isinstance(value, Sealed) or (name in secret and not is_empty(value)) else value
        for name, value in values.items()
    }


def secret_texts(kind: "type[State]", values: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts in the secret fields, longest first, so that they can be found where an author's code repeats them."""
    found: set[str] = set()
    for name in secret_fields(kind):
        _collect(values.get(name), found)
    return tuple(sorted(found, key=len, reverse=True))


def scrubbed(value: Any, texts: tuple[str, ...]) -> Any:
    """Plain JSON, or a text, with each of ``texts`` masked wherever it stands."""
    if not texts:
        return value
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, MASK)
        return value
    if isinstance(value, Mapping):
        return {scrubbed(key, texts): scrubbed(item, texts) for key, item in value.items()}
    return [scrubbed(item, texts) for item in value] if isinstance(value, (list, tuple)) else value


def holds_secret(value: Any, texts: tuple[str, ...]) -> bool:
    """Whether plain JSON repeats one of the secret ``texts``."""
    return bool(texts) and not codec.same(scrubbed(value, texts), value)


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, str):
        if len(value) >= SHORTEST:
            found.add(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
