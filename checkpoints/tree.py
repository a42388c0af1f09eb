"""A JSON value as a tree for people: small parts at once, large ones a page at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checkpoints import comparing
from workflows import codec
from workflows.masking import MASK

AT_ONCE = 150  # nodes that a page opens with
PAGE = 50  # children that are shown at a time
DEEP = 8  # levels that are shown at once
OPEN = 6  # children up to which a value is shown open
LINE = 120  # characters of a text that stands in a line
LONG = 20_000  # characters of a text that are shown; all of it is to be had as a file
FOUND = 100  # matches of a search

KINDS = {bool: "true or false", int: "number", float: "number", type(None): "empty"}


@dataclass
class Node:
    """One value. ``children`` None: they are fetched when somebody opens it; ``more``: where their next page begins."""

    name: str
    path: comparing.Path
    kind: str
    value: Any = None
    size: int = 0
    children: "list[Node] | None" = None
    more: int | None = None
    changed: bool = False
    secret: bool = False

    @property
    def pointer(self) -> str:
        return comparing.pointer(self.path)

    @property
    def spelled(self) -> str:
        """As an author would write it: ``messages[3].role``."""
        found = ""
        for part in self.path:
            found += f"[{part}]" if isinstance(part, int) else f".{part}" if str(part).isidentifier() else f"[{part!r}]"
        return found.removeprefix(".")

    @property
    def is_container(self) -> bool:
        return self.kind in ("list", "object")

    @property
    def is_open(self) -> bool:
        """Whether it is so small that it is shown open."""
        return self.children is not None and self.size <= OPEN

    @property
    def is_long(self) -> bool:
        return self.kind == "text" and (self.size > LINE or "\n" in self.value)

    @property
    def text(self) -> str:
        return str(self.value)[:LONG]

    @property
    def is_cut(self) -> bool:
        return self.size > LONG

    @property
    def first_line(self) -> str:
        line = str(self.value).strip().split("\n", 1)[0]
        return line[:LINE] + ("…" if len(line) > LINE or self.size > len(line) else "")


@dataclass
class _Budget:
    left: int = AT_ONCE
    deepest: int = DEEP


class PathMissing(LookupError):
    """There is no value at that path."""


def of_state(values: dict[str, Any], changed: frozenset[str] = frozenset()) -> list[Node]:
    """A node per field; the first of them open as far as the page allows."""
    budget = _Budget()
    nodes = [_node(name, value, (name,), budget) for name, value in values.items()]
    for node in nodes:
        node.changed = node.name in changed
    return nodes


def at(values: dict[str, Any], pointer: str, *, after: int = 0) -> Node:
    """The node at a JSON Pointer with its children from ``after`` on. Raises PathMissing."""
    value, path = find(values, pointer)
    name = str(path[-1]) if path else ""
    node = _bare(name, value, path)
    if node.is_container:
        node.children, node.more = _children(value, path, after, _Budget(deepest=len(path) + DEEP))
    return node


def find(values: dict[str, Any], pointer: str) -> tuple[Any, comparing.Path]:
    """The value at a JSON Pointer, and its path. Raises PathMissing."""
    found: Any = values
    path: list[str | int] = []
    try:
        for part in comparing.parts(pointer):
            key: str | int = int(part) if isinstance(found, list) else part
            if isinstance(key, int) and key < 0:
                raise PathMissing(pointer)
            found = found[key]
            path.append(key)
    except (ValueError, KeyError, IndexError, TypeError):
        raise PathMissing(f"there is nothing at {pointer!r}") from None
    return found, tuple(path)


def search(values: dict[str, Any], wanted: str) -> tuple[list[Node], bool]:
    """The nodes whose key or value contains ``wanted``, in any case of letters; and whether there are more."""
    found: list[Node] = []
    for path, value in _all(values, ()):
        name = str(path[-1])
        hit = wanted.lower() in name.lower()
        if not isinstance(value, (dict, list)):
            hit = hit or wanted.lower() in (value if isinstance(value, str) else codec.dumps(value).decode()).lower()
        if hit:
            if len(found) == FOUND:
                return found, True
            found.append(_bare(name, value, path))
    return found, False


def _all(value: Any, path: comparing.Path) -> Iterator[tuple[comparing.Path, Any]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from _all(item, (*path, key))


def _node(name: str, value: Any, path: comparing.Path, budget: _Budget) -> Node:
    node = _bare(name, value, path)
    budget.left -= 1
    if node.is_container and node.size <= budget.left and len(path) < budget.deepest:
        node.children, node.more = _children(value, path, 0, budget)
    return node


def _bare(name: str, value: Any, path: comparing.Path) -> Node:
    if isinstance(value, dict):
        return Node(name, path, "object", size=len(value))
    if isinstance(value, list):
        return Node(name, path, "list", size=len(value))
    if isinstance(value, str):
        return Node(name, path, "text", value, len(value), secret=value == MASK and len(path) == 1)
    return Node(name, path, KINDS[type(value)], value)


def _children(value: Any, path: comparing.Path, after: int, budget: _Budget) -> tuple[list[Node], int | None]:
    keys = list(range(len(value))) if isinstance(value, list) else list(value)
    shown = keys[after : after + PAGE]
    children = [_node(str(key), value[key], (*path, key), budget) for key in shown]
    following = after + PAGE
    return children, following if following < len(keys) else None
