"""``manage.py export_run ID [--to FILE]``: a run's whole history as one JSON document."""

import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from engine.portable import exporting
from runs.models import Run
from runs.services import audit


class Command(BaseCommand):
    help = "Write a run's whole history as one JSON document that verify_export proves anywhere and import_run reads."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="the id of the run")
        parser.add_argument("--to", help="a file; without it the document goes to the standard output")

    def handle(self, *args: Any, run: str, to: str | None = None, **options: Any) -> None:
        try:
            found = Run.objects.get(pk=run)
        except (Run.DoesNotExist, ValidationError):
            raise CommandError(f"{run}: the id of a run was expected") from None
        audit.record_maintenance("export_run", str(found))
        if to is None:
            sys.stdout.writelines(exporting.written(found))
            return
        with Path(to).open("w", encoding="utf-8") as file:
            file.writelines(exporting.written(found))
        self.stdout.write(f"Exported run {found.pk}, {found.seq + 1} entries, to {to}.")
