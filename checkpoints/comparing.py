"""How one JSON value becomes another: what was added, removed and changed, list items aligned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from checkpoints import aligning
from workflows import codec
from workflows.masking import MASK, Sealed

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Difference:
    """One place. ``path`` is where it stands when the differences before it are applied; ``kind``: added, removed, changed."""

    path: Path
    kind: str
    old: Any = None
    new: Any = None
    old_path: Path | None = None  # of a removed item: where it stood, which people look for

    def as_operation(self) -> dict[str, Any]:
        """As RFC 6902 has it."""
        where = pointer(self.path)
        if self.kind == "removed":
            return {"op": "remove", "path": where}
        return {"op": "add" if self.kind == "added" else "replace", "path": where, "value": self.new}


def pointer(path: Path) -> str:
    """The JSON Pointer (RFC 6901) of a place."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parts(text: str) -> list[str]:
    """The parts of a JSON Pointer. Raises ValueError for what is none."""
    if text and not text.startswith("/"):
        raise ValueError("a JSON Pointer begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[Difference]:
    """All of them, in the order in which they can be applied."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _in_objects(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _in_lists(old, new, path)
    elif not codec.same(old, new):
        yield Difference(path, "changed", old, new)


def of_states(old: Mapping[str, Any], new: Mapping[str, Any], changed: set[str] | None = None) -> Iterator[Difference]:
    """The differences of two states as they are loaded; secrets are masked.

    ``changed``: the secret fields that differ, where the tokens cannot tell (of two runs); None: they can.
    """
    hidden = {name for values in (old, new) for name, value in values.items() if isinstance(value, Sealed)}
    for name in sorted(hidden):
        differ = old.get(name) != new.get(name) if changed is None else name in changed
        if differ:
            yield Difference((name,), "changed", _hidden(old.get(name)), _hidden(new.get(name)))
    open_old, open_new = ({name: value for name, value in values.items() if name not in hidden} for values in (old, new))
    yield from _in_objects(open_old, open_new, ())


def _hidden(value: Any) -> Any:
    return MASK if isinstance(value, Sealed) else value


def _in_objects(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> Iterator[Difference]:
    for name, value in old.items():
        if name not in new:
            yield Difference((*path, name), "removed", value)
        else:
            yield from differences(value, new[name], (*path, name))
    for name, value in new.items():
        if name not in old:
            yield Difference((*path, name), "added", None, value)


def _in_lists(old: list[Any], new: list[Any], path: Path) -> Iterator[Difference]:
    before, after = [codec.dumps(item) for item in old], [codec.dumps(item) for item in new]
    for i1, i2, j1, j2 in aligning.changed_blocks(before, after):
        pairs = min(i2 - i1, j2 - j1)
        for at in range(pairs):
            yield from differences(old[i1 + at], new[j1 + at], (*path, j1 + at))
        for at in range(i1 + pairs, i2):
            yield Difference((*path, j1 + pairs), "removed", old[at], old_path=(*path, at))
        for at in range(j1 + pairs, j2):
            yield Difference((*path, at), "added", None, new[at])
