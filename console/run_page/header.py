"""What stands above every page of a run; the same for everybody who looks."""

from typing import Any

from console.run_page import situation
from console.run_page.outside import outside
from runs.models import Event, Kind, Run
from workflows import masking, registry

GIVEN = 3  # values
MACHINES = ("", "sweeper", "holdfast", "policy")


def context(run: Run) -> dict[str, Any]:
    """For ``runs/_header.html``."""
    return {"run": run, "situation": situation.of(run), "outside": outside(run), "note": last_note(run), "given": given(run)}


def given(run: Run) -> list[tuple[str, Any]]:
    """The first few plain values that it was started with, in its schema's order: what it is about.

    Secrets are left out, and what is as it would be without having been given.
    """
    if not isinstance(run.input, dict):
        return []
    schema = registry.schema(run.workflow, run.version)
    secret, fields = masking.secret_fields(schema), schema.model_fields if schema is not None else {}
    names = [*(name for name in fields if name in run.input), *(name for name in run.input if name not in fields)]
    plain = [(name, run.input[name]) for name in names if name not in secret and _tells(run.input[name])]
    return [(name, value) for name, value in plain if name not in fields or fields[name].default != value][:GIVEN]


def _tells(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def last_note(run: Run) -> Event | None:
    """What a person wrote last, such as “erin is on it”."""
    notes = run.events.filter(kind=Kind.NOTE, detail__isnull=False).exclude(by__in=MACHINES).order_by("-seq")[:10]
    return next((note for note in notes if "act" not in note.facts()), None)
