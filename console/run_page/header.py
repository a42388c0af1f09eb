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
    """The first few plain values that it was started with: what it is about. Secrets are left out."""
    if not isinstance(run.input, dict):
        return []
    secret = masking.secret_fields(registry.schema(run.workflow, run.version))
    plain = [(name, value) for name, value in run.input.items() if isinstance(value, (str, int, float)) and name not in secret]
    return [(name, value) for name, value in plain if value != "" and not isinstance(value, bool)][:GIVEN]


def last_note(run: Run) -> Event | None:
    """What a person wrote last, such as “erin is on it”."""
    notes = run.events.filter(kind=Kind.NOTE, detail__isnull=False).exclude(by__in=MACHINES).order_by("-seq")[:10]
    return next((note for note in notes if "act" not in note.facts()), None)
