"""The state: a Pydantic schema, the reducers of its fields, and how updates are applied to it."""

import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from workflows import codec, delta
from workflows.errors import RegistrationError
from workflows.masking import secret_fields

Migration = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Reducer:
    """Joins a field's old value with what a step returned for it."""

    name: str
    join: Callable[[Any, Any], Any]
    fits: tuple[type, ...] = ()

    def __call__(self, old: Any, new: Any) -> Any:
        return self.join(old, new)


Append = Reducer("Append", lambda old, new: [*old, *new], (list,))
Merge = Reducer("Merge", lambda old, new: {**old, **new}, (dict,))
Add = Reducer("Add", lambda old, new: old + new, (int, float))


@dataclass(frozen=True)
class Replace:
    """An update that overrides the field's reducer, for instance to prune a history."""

    value: Any


class StateInvalid(ValueError):
    """Updates or a whole state that the schema refuses. ``errors`` maps a field's path to what was expected."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{path}: {text}" for path, text in self.errors.items()))


class State(BaseModel):
    """A run's data. Subclass it: ``class Refund(State, schema_version=1)``. Instances cannot be changed in place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: ClassVar[int] = 1
    migrations: ClassVar[dict[int, Migration]] = {}
    reducers: ClassVar[dict[str, Reducer]] = {}
    adapters: ClassVar[dict[str, TypeAdapter[Any]]] = {}

    def __init_subclass__(cls, schema_version: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.schema_version = schema_version
        cls.migrations = {}
        cls.adapters = {}

    @classmethod
    def __pydantic_init_subclass__(cls, schema_version: int = 1, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not isinstance(schema_version, int) or schema_version < 1:
            raise RegistrationError(f"{cls.__name__}: schema_version={schema_version!r}: a whole number from 1")
        cls.reducers = {name: found for name in cls.model_fields if (found := _reducer(cls, name)) is not None}

    @classmethod
    def migrate(cls, *, from_version: int) -> Callable[[Migration], Migration]:
        """Register a function that upgrades an old state's dict from ``from_version`` to the next version."""

        def register(function: Migration) -> Migration:
            if from_version in cls.migrations or not 1 <= from_version < cls.schema_version:
                raise RegistrationError(
                    f"{cls.__name__}: migrate(from_version={from_version}) is there already, or is not below "
                    f"schema_version={cls.schema_version}"
                )
            cls.migrations[from_version] = function
            return function

        return register

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The state for a dict of plain JSON. Raises StateInvalid with every field named."""
        if not isinstance(values, Mapping):
            raise StateInvalid({"input": f"an object was expected, not {type(values).__name__}"})
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise StateInvalid(_by_field(error)) from None

    @classmethod
    def field_adapter(cls, name: str) -> TypeAdapter[Any]:
        """Validates and dumps one field. Cached on the class."""
        adapters = cls.adapters
        if name not in adapters:
            info = cls.model_fields[name]
            kind: Any = info.annotation
            for marker in info.metadata:
                kind = typing.Annotated[kind, marker]
            adapters[name] = TypeAdapter(kind)
        return adapters[name]


@dataclass(frozen=True)
class Change:
    """The result of applying ``updates``: the new state, its plain JSON, and the delta between the two."""

    state: State
    values: dict[str, Any]
    delta: dict[str, Any]
    updates: Mapping[str, Any]


def apply(state: State, values: Mapping[str, Any], updates: Mapping[str, Any]) -> Change:
    """Join ``updates`` with ``state`` (``values`` is its plain JSON) by each field's reducer.

    Only the changed fields are validated, unless the schema has validators of its own. Raises StateInvalid that names
    each field. The delta is as workflows/delta.py has it.
    """
    kind = type(state)
    unknown = [name for name in updates if name not in kind.model_fields]
    if unknown:
        known = ", ".join(kind.model_fields)
        raise StateInvalid({str(name): f"{kind.__name__} has no such field; it has {known}" for name in unknown})
    joined, appended = _join(state, updates)
    new_state = _validated(state, values, joined)
    new_values, changed = dict(values), delta.Delta()
    validates = has_validators(kind)  # then they may have changed fields that nobody named, or items that were there
    for name in kind.model_fields if validates else updates:
        plain = _plain(kind, name, getattr(new_state, name))
        if name in values and codec.same(values[name], plain):
            continue
        new_values[name] = plain
        delta.add(changed, name, values.get(name), plain, appended=name in appended and not validates)
    return Change(new_state, new_values, changed, updates)


def plain(state: State) -> dict[str, Any]:
    """The state as plain JSON. Raises StateInvalid for what JSON cannot hold (NaN, NUL, lone surrogates)."""
    return {name: _plain(type(state), name, getattr(state, name)) for name in type(state).model_fields}


def agrees(kind: type[State], approved: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the approved fields are the state's, in whatever spelling a person typed them."""
    return all(_same(kind, name, value, values[name]) for name, value in approved.items() if name in values)


def _same(kind: type[State], name: str, approved: Any, value: Any) -> bool:
    adapter = kind.field_adapter(name)
    try:
        return bool(adapter.dump_python(adapter.validate_python(approved), mode="json") == value)
    except ValueError:
        return False


def shown_to_change(kind: type[State], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a person may see and change in a form: all but the secret ones."""
    secret = secret_fields(kind)
    return {name: value for name, value in values.items() if name not in secret}


def unset(kind: type[State], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that still have their default, in plain JSON; secret ones are not among them."""
    found = {}
    for name, value in shown_to_change(kind, values).items():
        info = kind.model_fields[name]
        if not info.is_required() and codec.same(_plain(kind, name, info.get_default(call_default_factory=True)), value):
            found[name] = value
    return found


def schema_of(kind: type[State], values: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of those fields, none of them required: what is left as it is is not sent."""
    schema = kind.model_json_schema()
    properties = {name: part for name, part in schema["properties"].items() if name in values}
    return {**schema, "properties": properties, "required": []}


def _join(state: State, updates: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    joined: dict[str, Any] = {}
    appended: set[str] = set()
    for name, new in updates.items():
        reducer = state.reducers.get(name)
        old = getattr(state, name)
        if isinstance(new, Replace):
            joined[name] = new.value
        elif reducer is None or (old is None and reducer.fits):
            joined[name] = new
        else:
            if reducer.fits and not isinstance(new, (*reducer.fits, *((tuple,) if reducer is Append else ()))):
                raise StateInvalid({name: f"{reducer.name} expects {reducer.fits[0].__name__}, not {_kind(new)}"})
            try:
                joined[name] = reducer(old, new)
            except Exception as error:
                raise StateInvalid({name: f"its reducer failed: {error}"}) from error
            if reducer is Append:
                appended.add(name)
    return joined, appended


def _validated(state: State, values: Mapping[str, Any], joined: Mapping[str, Any]) -> State:
    kind = type(state)
    if has_validators(kind):
        return kind.parse({**{name: getattr(state, name) for name in values}, **joined})
    typed, errors = dict[str, Any](), dict[str, str]()
    for name, value in joined.items():
        try:
            typed[name] = kind.field_adapter(name).validate_python(value)
        except ValidationError as error:
            errors.update(_by_field(error, name))
    if errors:
        raise StateInvalid(errors)
    return state.model_copy(update=typed)


@functools.cache
def has_validators(kind: type[State]) -> bool:
    """Whether the schema has validators of its author's, which may make something else of what they are given."""
    marks = kind.__pydantic_decorators__
    own = marks.field_validators or marks.model_validators or marks.validators or marks.root_validators
    named = ("AfterValidator", "BeforeValidator", "WrapValidator", "PlainValidator")
    return bool(own) or any(type(mark).__name__ in named for info in kind.model_fields.values() for mark in info.metadata)


def _plain(kind: type[State], name: str, value: Any) -> Any:
    if value is None or type(value) in (bool, int):
        return value
    try:
        dumped = kind.field_adapter(name).dump_python(value, mode="json")
        codec.check_text(dumped) if type(dumped) is str else codec.dumps(dumped)
    except ValueError as error:
        raise StateInvalid({name: str(error)}) from None
    return dumped


def _by_field(error: ValidationError, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in (*((prefix,) if prefix else ()), *item["loc"])) or "input"
        found[path] = item["msg"]
    return found


def _reducer(kind: type[State], name: str) -> Reducer | None:
    info = kind.model_fields[name]
    found = [mark for mark in info.metadata if isinstance(mark, (Reducer, types.FunctionType, types.BuiltinFunctionType))]
    if not found:
        return None
    if len(found) > 1:
        raise RegistrationError(f"{kind.__name__}.{name} has {len(found)} reducers; keep one")
    if not isinstance(found[0], Reducer):
        return Reducer(found[0].__name__, found[0])
    bare = _bare_types(info.annotation)
    if not any(isinstance(option, type) and issubclass(option, found[0].fits) for option in bare):
        fits = " or ".join(option.__name__ for option in found[0].fits)
        raise RegistrationError(
            f"{kind.__name__}.{name}: {found[0].name} joins fields of type {fits}, not {info.annotation}; "
            "change the type, or use a function (old, new) -> value as its reducer"
        )
    return found[0]


def _bare_types(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return [bare for part in typing.get_args(annotation) for bare in _bare_types(part)]
    return [origin or annotation]


def _kind(value: Any) -> str:
    return type(value).__name__
