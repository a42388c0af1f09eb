"""What a branch's steps returned, kept apart from the run's state until the join puts all branches together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic_core

from workflows import codec
from workflows.masking import secret_fields
from workflows.state import Add, Append, Change, Merge, Replace, State, StateInvalid, apply

Part = Mapping[str, Any]  # {"set": {field: value}, "join": {field: what its reducer is to join}}


def part(state: State, values: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """A branch step's updates as plain JSON. ``change`` is what they made of ``state``, ``values`` its plain JSON before.

    Raises StateInvalid for what JSON cannot hold.
    """
    kept: dict[str, Any] = {}
    for name, new in change.updates.items():
        if name in secret_fields(type(state)):  # a branch keeps its updates as they are
            raise StateInvalid({name: "a branch cannot set a secret field; set it in the join"})
        reducer = type(state).reducers.get(name)
        if reducer is None or isinstance(new, Replace):
            kept.setdefault("set", {})[name] = change.values[name]
        elif reducer is Append:
            kept.setdefault("join", {})[name] = change.values[name][len(values[name] or ()) :]
        else:
            kept.setdefault("join", {})[name] = _plain(name, new)
    return kept


def with_parts(state: State, values: Mapping[str, Any], parts: Iterable[Part]) -> Change:
    """The fan-out's state as a branch sees it: with its own updates. Raises StateInvalid."""
    change = Change(state, dict(values), {}, {})
    for one in parts:
        replaced = {name: Replace(value) for name, value in one.get("set", {}).items()}
        change = apply(change.state, change.values, {**replaced, **one.get("join", {})})
    return change


def joined(state: State, branches: Sequence[tuple[int, Sequence[Part]]]) -> dict[str, Any]:
    """All branches' updates as one, in the order given: ``(index, parts)``. ``state`` is the fan-out's.

    Raises StateInvalid that names both branches where two set the same plain field.
    """
    setters: dict[str, tuple[int, Any]] = {}
    joins: dict[str, list[tuple[int, Any]]] = {}
    for index, parts in branches:
        for one in parts:
            for name, value in one.get("set", {}).items():
                _check_alone(name, index, [setters[name][0]] if name in setters else [])
                setters[name] = (index, value)
                joins[name] = [(other, new) for other, new in joins.get(name, ()) if other != index]
            for name, value in one.get("join", {}).items():
                joins.setdefault(name, []).append((index, value))
    updates: dict[str, Any] = {}
    for name, news in joins.items():
        if name in setters:
            _check_alone(name, setters[name][0], [index for index, _ in news])
        elif news:
            updates[name] = _together(state, name, [value for _, value in news])
    for name, (_, value) in setters.items():
        after = [new for _, new in joins.get(name, ())]
        updates[name] = Replace(_fold(state, name, value, after))
    return updates


def _check_alone(name: str, index: int, others: Iterable[int]) -> None:
    other = next((other for other in others if other != index), None)
    if other is not None:
        first, second = sorted((index, other))
        text = f"branches {first} and {second} both set it; give the field a reducer, or set it in the join"
        raise StateInvalid({name: text})


def _together(state: State, name: str, news: Sequence[Any]) -> Any:
    """One value for the field's reducer; a function of the author's own is called once for each instead."""
    reducer = type(state).reducers[name]
    if reducer is Append:
        return [item for new in news for item in new]
    if reducer is Merge:
        return {key: value for new in news for key, value in new.items()}
    if reducer is Add:
        return sum(news)
    return Replace(_fold(state, name, getattr(state, name), news))


def _fold(state: State, name: str, value: Any, news: Sequence[Any]) -> Any:
    for new in news:
        try:
            value = type(state).reducers[name](value, new)
        except Exception as error:
            raise StateInvalid({name: f"its reducer failed: {error}"}) from error
    return value


def _plain(name: str, new: Any) -> Any:
    try:
        value = pydantic_core.to_jsonable_python(new)
        codec.dumps(value)
    except ValueError as error:
        raise StateInvalid({name: str(error)}) from None
    return value
