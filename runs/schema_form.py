"""A Django form from a JSON Schema: typed fields where a person can fill them in, JSON where not."""

import csv
import io
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from django import forms

from workflows import codec

LONG = 200  # characters from which a text gets a larger box


class SchemaForm(forms.Form):
    """Fields are made by ``form_for``. After ``is_valid``, ``values()`` is plain JSON in the schema's types."""

    prefix = "field"  # a page's own inputs (reason, comment, version …) can never be taken for a field of the schema
    schema: Mapping[str, Any] = {}
    csv_fields: frozenset[str] = frozenset()

    def __init__(self, *args: Any, initial: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, value in (initial or {}).items():
            field = self.fields.get(name)
            if isinstance(field, JsonField):
                value = json.dumps(value, ensure_ascii=False, indent=2)
            elif isinstance(field, forms.CharField) and isinstance(value, str) and ("\n" in value or len(value) > LONG):
                field.widget = forms.Textarea(attrs={"rows": 4})  # a line of input would swallow the line ends
            if field is not None:
                self.initial[name] = value

    def values(self) -> dict[str, Any]:
        """Only what was filled in: what is left empty keeps the schema's default."""
        found: dict[str, Any] = {}
        for name, field in self.fields.items():
            if name.startswith(CSV_PREFIX):
                continue
            value = self.cleaned_data.get(name)
            uploaded = self.cleaned_data.get(CSV_PREFIX + name)
            if uploaded is not None:
                found[name] = uploaded
            elif isinstance(field, forms.BooleanField) or value not in (None, ""):
                found[name] = value.isoformat() if isinstance(value, date) else unix(value)
        return found

    def add_errors(self, errors: Mapping[str, str]) -> None:
        """Put the schema's own errors at their fields; a row of a CSV is named by its line."""
        for path, text in errors.items():
            name, _, inside = path.partition(".")
            row, _, column = inside.partition(".")
            if name in self.csv_fields and row.isdigit() and self.cleaned_data.get(CSV_PREFIX + name) is not None:
                line = int(row) + 2  # line 1 holds the columns' names
                self.add_error(CSV_PREFIX + name, f"line {line}: {column}: {text}" if column else f"line {line}: {text}")
            else:
                self.add_error(name if name in self.fields else None, f"{inside}: {text}" if inside else text)


CSV_PREFIX = "csv-"


def form_for(schema: Mapping[str, Any]) -> type[SchemaForm]:
    """A form class for an object schema."""
    fields: dict[str, Any] = {}
    tables = []
    for name, declared in schema.get("properties", {}).items():
        part = resolve(declared, schema)
        required = name in schema.get("required", ())
        if _is_table(part, schema):
            fields[CSV_PREFIX + name] = CsvField(columns(part, schema), label=f"{label_of(name, part)} (CSV)")
            required = False
            tables.append(name)
        fields[name] = _field(name, part, required=required)
    return type("SchemaFormForOneSchema", (SchemaForm,), {**fields, "schema": schema, "csv_fields": frozenset(tables)})


def resolve(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part with its ``$ref`` followed and “or null” taken off."""
    found = dict(part)
    if "$ref" in found:
        name = str(found.pop("$ref")).rpartition("/")[2]
        found = {**schema.get("$defs", {}).get(name, {}), **found}
    options = [option for option in found.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        found.pop("anyOf")
        found = {**resolve(options[0], schema), **found}
    return found


def columns(part: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    return list(resolve(part["items"], schema)["properties"])


class CsvField(forms.FileField):
    """A CSV whose columns are the items' fields. Cleans to a list of objects, or None when no file was given."""

    def __init__(self, names: list[str], **options: Any) -> None:
        help_text = f"Columns: {', '.join(names)}"
        widget = forms.FileInput(attrs={"accept": ".csv,text/csv"})
        super().__init__(required=False, help_text=help_text, widget=widget, **options)
        self.names = names

    def clean(self, data: Any, initial: Any = None) -> Any:
        file = super().clean(data, initial)
        if not file:
            return None
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise forms.ValidationError("The file is not UTF-8 text.") from None
        reader = csv.DictReader(io.StringIO(text), restkey="")
        unknown = [name for name in reader.fieldnames or () if name not in self.names]
        if unknown or not reader.fieldnames:
            raise forms.ValidationError(f"line 1: columns {', '.join(self.names)} were expected, not {', '.join(unknown)}")
        return [self._row(row, reader.line_num) for row in reader]

    def _row(self, row: dict[str, Any], line: int) -> dict[str, Any]:
        if "" in row:
            raise forms.ValidationError(f"line {line}: it has more cells than there are columns")
        return {name: value for name, value in row.items() if value is not None and value != ""}


class JsonField(forms.CharField):
    """A value that is typed as JSON."""

    def __init__(self, expected: str, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "code"}), **options)
        self.expected = expected

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False, indent=2)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            found = codec.loads(text.encode())
            codec.dumps(found)  # what PostgreSQL cannot hold is refused at the door
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"JSON ({self.expected}) was expected: {error}") from None
        return found


def _field(name: str, part: Mapping[str, Any], *, required: bool) -> forms.Field:
    common: dict[str, Any] = {
        "label": label_of(name, part),
        "required": required,
        "help_text": part.get("description", ""),
        "initial": part.get("default"),
    }
    kind = part.get("type")
    if "enum" in part:
        choices = [("", "—")] * (not required) + [(value, value) for value in part["enum"]]
        return forms.ChoiceField(choices=choices, **common)
    if kind in ("boolean", "integer", "number", "string"):
        return scalar_field(part, common)
    return JsonField(f"{kind or 'value'}", **common)


def scalar_field(part: Mapping[str, Any], common: dict[str, Any], *, long: bool = False) -> forms.Field:
    """The field of one plain value. ``long``: a text that wants several lines, whatever its schema says."""
    kind = part.get("type")
    if kind == "boolean":
        return forms.BooleanField(**{**common, "required": False})
    if kind == "integer":
        return forms.IntegerField(min_value=_lowest(part, 1), max_value=_highest(part, 1), **common)
    if kind == "number":
        return forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}), **common)
    if part.get("format") == "date":
        return forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), **common)
    length = part.get("maxLength")
    long = long or (length is not None and length > LONG)
    widget = forms.Textarea(attrs={"rows": 3}) if long else forms.TextInput()
    return forms.CharField(max_length=length, strip=False, widget=widget, **common)


def unix(value: Any) -> Any:
    """Browsers send text with CRLF line ends."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def _lowest(part: Mapping[str, Any], step: int) -> Any:
    return part["exclusiveMinimum"] + step if "exclusiveMinimum" in part else part.get("minimum")


def _highest(part: Mapping[str, Any], step: int) -> Any:
    return part["exclusiveMaximum"] - step if "exclusiveMaximum" in part else part.get("maximum")


def _is_table(part: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    if part.get("type") != "array" or not isinstance(part.get("items"), Mapping):
        return False
    item = resolve(part["items"], schema)
    return item.get("type") == "object" and bool(item.get("properties"))


def label_of(name: str, part: Mapping[str, Any]) -> str:
    return name.replace("_", " ").capitalize()
