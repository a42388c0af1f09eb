"""``manage.py verify_export FILE``: is the document as it was written? Needs no database."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engine.portable import document


class Command(BaseCommand):
    help = "Prove an exported run. Exit code 1 where anything in it was altered, with the place."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        try:
            found = document.parsed(Path(file).read_bytes())
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        except document.DocumentInvalid as error:
            places = "\n".join(f"{flaw.place}: {flaw.why}" for flaw in error.flaws)
            raise CommandError(f"{file} was altered, or is none of ours.\n{places}") from None
        self.stdout.write(f"Sound: run {found['run']['id']}, {len(found['entries'])} entries.")
