"""``manage.py import_run FILE``: read an exported run, to look at it and to fork it here."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from engine.portable import document, importing
from runs import doors
from runs.models import Act
from runs.services import audit


class Command(BaseCommand):
    help = "Read an exported run. It is a copy that nobody carries on; fork it to go on from one of its checkpoints."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        try:
            with transaction.atomic():
                run = importing.imported(Path(file).read_bytes())
                audit.record(doors.host_user(), Act.IMPORTED, run=run, changed={"file": Path(file).name})
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        except importing.RunKnown as error:
            raise CommandError(f"Nothing was imported: {error}.") from None
        except document.DocumentInvalid as error:
            places = "\n".join(f"{flaw.place}: {flaw.why}" for flaw in error.flaws)
            raise CommandError(f"Nothing was imported: {file} was altered, or is none of ours.\n{places}") from None
        self.stdout.write(f"Imported run {run.pk}, {run.seq + 1} entries.")
