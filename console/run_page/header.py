"""What stands above every page of a run; the same for everybody who looks."""

from typing import Any

from console.run_page import situation
from console.run_page.outside import outside
from runs.models import Event, Kind, Run

MACHINES = ("", "sweeper", "holdfast", "policy")


def context(run: Run) -> dict[str, Any]:
    """For ``runs/_header.html``."""
    return {"run": run, "situation": situation.of(run), "outside": outside(run), "note": last_note(run)}


def last_note(run: Run) -> Event | None:
    """What a person wrote last, such as “erin is on it”."""
    notes = run.events.filter(kind=Kind.NOTE, detail__isnull=False).exclude(by__in=MACHINES).order_by("-seq")[:10]
    return next((note for note in notes if "act" not in note.facts()), None)
