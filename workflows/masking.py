"""Secrets: which fields they are, and what people see of them."""

import functools
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from workflows import codec

if TYPE_CHECKING:
    from workflows.state import State

MASK = "••••••"
LINE = 8  # characters from which one line of a secret is looked for by itself
SHORTEST = 6  # characters of a secret text that is looked for in other texts; shorter ones would be found everywhere


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
        info = kind.model_fields[name]
        _collect_marked(info.annotation, info.metadata, values.get(name), found)
    return spellings(found)


def texts_in(values: Iterable[Any]) -> tuple[str, ...]:
    """All texts in these values, which are secret as a whole."""
    found: set[str] = set()
    for value in values:
        _collect(value, found)
    return spellings(found)


def spellings(texts: Iterable[str]) -> tuple[str, ...]:
    """Each text as it is, as ``repr`` and JSON escape it, and the lines of one that has several; longest first."""
    found: set[str] = set()
    for text in texts:
        found |= {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        found |= {line.strip() for line in text.splitlines() if len(line.strip()) >= LINE}
    return tuple(sorted((text for text in found if len(text) >= SHORTEST), key=len, reverse=True))


def scrubbed(value: Any, texts: tuple[str, ...]) -> Any:
    """Plain JSON, or a text, with each of ``texts`` masked wherever it stands."""
    if not texts:
        return value
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, MASK)
        return _without_start(value, texts) if value.endswith(codec.CUT) else value
    if isinstance(value, Mapping):
        return {scrubbed(key, texts): scrubbed(item, texts) for key, item in value.items()}
    return [scrubbed(item, texts) for item in value] if isinstance(value, (list, tuple)) else value


def _without_start(text: str, texts: tuple[str, ...]) -> str:
    """A text that was cut may end with the beginning of a secret."""
    body = text.removesuffix(codec.CUT)
    for secret in texts:
        for length in range(min(len(secret), len(body)), SHORTEST - 1, -1):
            if body.endswith(secret[:length]):
                return body[:-length] + MASK + codec.CUT
    return text


def holds_secret(value: Any, texts: tuple[str, ...]) -> bool:
    """Whether plain JSON repeats one of the secret ``texts``."""
    return bool(texts) and not codec.same(scrubbed(value, texts), value)


def _collect_marked(annotation: Any, marks: Iterable[Any], value: Any, found: set[str]) -> None:
    """The texts in what is marked, not those beside it in the same model."""
    if _is_marked(marks) or _is_marked(getattr(annotation, "__metadata__", ())):
        _collect(value, found)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inside = value if isinstance(value, Mapping) else {}
        for name, info in annotation.model_fields.items():
            _collect_marked(info.annotation, info.metadata, inside.get(name), found)
    else:
        items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        for part in typing.get_args(annotation):
            for one in (value, *items):
                _collect_marked(part, (), one, found)


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        found.add(str(value))
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
