"""The form that edits an action's arguments: typed fields from its JSON Schema, nested as the arguments are.

What is left alone is sent back exactly as it was, so that no type is lost. What has no field of its own (a union, a list of
lists) is edited as JSON. ``arguments`` gives plain JSON, which the schema is then checked against (services/checking.py).
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms

from runs.schema_form import JsonField, label_of, resolve, scalar_field, unix

ROWS = 20  # items of a list of objects that have fields of their own; a longer one is edited as JSON
DEPTH = 4
LINES = ("string", "integer", "number")  # whose lists are edited one a line
SCALARS = ("string", "integer", "number", "boolean")
REMOVE = ":remove"  # after an item's path: a tick that takes it out of the list


class ChoiceField(forms.TypedChoiceField):
    """One of the schema's values, each in its own type."""

    def __init__(self, values: list[Any], **options: Any) -> None:
        self.known = {json.dumps(value): value for value in values}  # 1 and "1" are two of them
        choices = [("", "—")] * (not options.get("required")) + [(key, _spelled(value)) for key, value in self.known.items()]
        super().__init__(choices=choices, coerce=self.known.__getitem__, empty_value=None, **options)

    def valid_value(self, value: Any) -> bool:
        return super().valid_value(value) or json.dumps(value) in self.known

    def clean(self, value: Any) -> Any:
        return super().clean(value if value in self.known or value in (None, "") else json.dumps(value))

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) and value in self.known else "" if value is None else json.dumps(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != self.prepare_value(data or None))


class MomentField(forms.DateTimeField):
    """A date and a time, in UTC, as text of ISO 8601."""

    def __init__(self, **options: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(widget=widget, input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"], **options)

    def prepare_value(self, value: Any) -> Any:
        try:
            return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
        except (TypeError, ValueError):
            return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """The form shows whole seconds; what stands there unchanged keeps its fractions and its offset."""
        try:
            before = self.to_python(self.prepare_value(initial))
            return bool(self.to_python(data) != (before and before.replace(microsecond=0)))
        except forms.ValidationError:
            return True

    def to_python(self, value: Any) -> Any:
        found = super().to_python(value)
        return found and found.replace(tzinfo=UTC)


class LinesField(forms.CharField):
    """A list of short values, one a line."""

    def __init__(self, part: Mapping[str, Any], **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 4}), **{**options, "help_text": _one_a_line(options)})
        self.part = part

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(_spelled(item) for item in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        return [
            self._item(line, number) for number, line in enumerate(unix(super().clean(value)).split("\n"), 1) if line.strip()
        ]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((self.prepare_value(initial) or "") != unix(data or ""))

    def _item(self, line: str, number: int) -> Any:
        field = _field("item", self.part, required=True, initial=None)
        try:
            found = field.clean(line if self.part.get("type") == "string" else line.strip())
        except forms.ValidationError as error:
            raise forms.ValidationError(f"line {number}: {' '.join(error.messages)}") from None
        return _json(found)


class EditForm(forms.Form):
    """Made by ``edit_form``; its fields are named by their path (``address.city``, ``lines.0.amount``)."""

    prefix = "field"

    def __init__(self, schema: Mapping[str, Any], args: Mapping[str, Any], data: Any = None, order: Sequence[str] = ()) -> None:
        super().__init__(data)
        self.args = args
        declared = schema.get("properties", {})
        names = [name for name in order if name in declared]  # jsonb has the keys in an order of its own
        schema = {**schema, "properties": {name: declared[name] for name in [*names, *declared]}}
        for path, field, value in _fields(schema, schema, args, "", 0):
            self.fields[path] = field
            self.initial[path] = value

    def arguments(self) -> dict[str, Any]:
        """The arguments with what was changed in the form. Call it once the form is valid."""
        found: dict[str, Any] = copy.deepcopy(dict(self.args))
        changed = [name for name in self.changed_data if not name.endswith(REMOVE)]
        for path in changed:
            _put(found, path.split("."), self._value(path))
        for path in self.fields:
            if path.endswith(REMOVE) and self.cleaned_data.get(path):
                _put(found, path.removesuffix(REMOVE).split("."), _GONE)
        return _without_gaps(found)  # type: ignore[no-any-return] # an object stays one

    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """The fields under the path that they share, in order: ``("", …)``, ``("address", …)``, ``("lines 1", …)``."""
        found: dict[str, list[forms.BoundField]] = {}
        for field in self:
            *path, _ = field.name.split(".")
            if field.name.endswith(REMOVE):
                path = field.name.removesuffix(REMOVE).split(".")
            words = " › ".join(str(int(part) + 1) if part.isdecimal() else part.replace("_", " ") for part in path)
            found.setdefault(words, []).append(field)
        yield from found.items()

    def _value(self, path: str) -> Any:
        value = self.cleaned_data.get(path)
        if value in (None, ""):
            field = self.fields[path]
            return None if getattr(field, "nullable", False) or not isinstance(field, forms.CharField) else ""
        return _json(value)


class _Gone:
    """In the place of an item that is taken out of its list."""


_GONE = _Gone()


def _fields(
    part: Mapping[str, Any], schema: Mapping[str, Any], value: Any, above: str, depth: int
) -> Iterator[tuple[str, forms.Field, Any]]:  # fmt: skip
    """Each field with its path and its value now."""
    for name, declared in part.get("properties", {}).items():
        inner, path, now = resolve(declared, schema), f"{above}{name}", value.get(name) if isinstance(value, Mapping) else None
        required = name in part.get("required", ())
        if "." in name or name.endswith(REMOVE):
            continue  # its path could be another's; it stays as it is
        if _is_object(inner) and depth < DEPTH and (isinstance(now, dict) or required):
            yield from _fields(inner, schema, now or {}, f"{path}.", depth + 1)
        elif _is_rows(inner, schema, now) and depth < DEPTH:
            yield from _rows(resolve(inner["items"], schema), schema, now or [], path, depth + 1)
        else:
            field = _field(name, inner, required=required, initial=now, schema=schema)
            field.nullable = _is_nullable(declared, schema)  # type: ignore[attr-defined]
            yield path, field, now


def _rows(item: Mapping[str, Any], schema: Mapping[str, Any], items: list[Any], path: str, depth: int) -> Iterator[Any]:
    """Fields for each item with a tick to take it out, and empty ones for one more."""
    for number, one in enumerate(items):
        yield from _fields(item, schema, one, f"{path}.{number}.", depth)
        yield f"{path}.{number}{REMOVE}", forms.BooleanField(label="Take this one out", required=False), False
    optional = {**item, "required": []}
    yield from _fields(optional, schema, {}, f"{path}.{len(items)}.", depth)


def _field(name: str, part: Mapping[str, Any], *, required: bool, initial: Any, schema: Mapping[str, Any] = {}) -> forms.Field:
    common: dict[str, Any] = {
        "label": label_of(name, part),
        "required": required,
        "help_text": part.get("description", ""),
    }
    items = resolve(part["items"], schema) if isinstance(part.get("items"), Mapping) else {}
    if "enum" in part or "const" in part:
        return ChoiceField(list(part.get("enum", [part.get("const")])), **common)
    if part.get("type") == "string" and part.get("format") == "date-time" and _is_moment(initial):
        return MomentField(**{**common, "help_text": f"{common['help_text']} In UTC.".strip()})
    if part.get("type") == "array" and items.get("type") in LINES and "format" not in items and _are_lines(initial):
        return LinesField(items, **{**common, "required": False})
    if part.get("type") in SCALARS and not (
        part.get("type") == "string" and initial is not None and not isinstance(initial, str)
    ):
        return scalar_field(part, {**common, "required": required and part.get("type") != "string"}, long=_is_long(initial))
    return JsonField(f"{part.get('type') or 'value'}", **{**common, "required": False})


def _is_object(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "object" and bool(part.get("properties"))


def _is_rows(part: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> bool:
    if (
        part.get("type") != "array"
        or not isinstance(part.get("items"), Mapping)
        or not _is_object(resolve(part["items"], schema))
    ):
        return False
    return value is None or (isinstance(value, list) and len(value) <= ROWS and all(isinstance(one, dict) for one in value))


def _is_nullable(declared: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in declared.get("anyOf", ()))


def _is_moment(value: Any) -> bool:
    try:
        return value is None or datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _are_lines(value: Any) -> bool:
    """Whether a list can be written one item a line and read back as it is."""
    if not isinstance(value, list):
        return value is None
    return all(isinstance(item, (str, int, float)) and (item != "" and "\n" not in str(item)) for item in value)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and ("\n" in value or len(value) > 80)


def _one_a_line(options: Mapping[str, Any]) -> str:
    return f"{options.get('help_text', '')} One a line.".strip()


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if hasattr(value, "isoformat") else unix(value)


def _put(found: Any, path: list[str], value: Any) -> None:
    """Set the value at the path, making objects and the list's next item on the way."""
    for part, following in zip(path, [*path[1:], ""], strict=True):
        key: Any = int(part) if isinstance(found, list) else part
        if isinstance(found, list) and key >= len(found):
            found.append({})
            key = len(found) - 1
        if following == "":
            found[key] = value
            return
        if isinstance(found, dict) and found.get(key) is None:
            found[key] = [] if following.isdecimal() else {}
        found = found[key]


def _without_gaps(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_gaps(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_gaps(item) for item in value if item is not _GONE]
    return value
