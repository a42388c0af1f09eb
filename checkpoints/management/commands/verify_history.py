"""``manage.py verify_history [--run ID]``: walk the runs' chains and the audit's, and name what is not as written."""

import time
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from checkpoints import verifying
from runs import audit_chain
from runs.models import Run


class Command(BaseCommand):
    help = "Walk the history of one run, or of all and the audit, and report every break. Exit code 1 where there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--run", help="the id of one run")

    def handle(self, *args: Any, run: str | None = None, **options: Any) -> None:
        began = time.monotonic()
        entries = broken = count = 0
        for one in _runs(run):
            report = verifying.verify_and_note(one)
            count, entries = count + 1, entries + report.entries
            for found in report.breaks:
                self.stdout.write(self.style.ERROR(f"run {one.pk} seq {found.seq}: {found.why}"))
            broken += not report.is_sound
        acts = audit_chain.AuditReport() if run is not None else audit_chain.verify()
        for where, why in acts.breaks:
            self.stdout.write(self.style.ERROR(f"audit {where}: {why}"))
        took = time.monotonic() - began
        total = f"{count} run{'' if count == 1 else 's'}, {entries} entries, {acts.entries} acts, in {took:.1f} s"
        if broken:
            raise CommandError(
                f"{broken} broken of {total}. They are not resumed, nor forked beyond their breaks.", returncode=1
            )
        if acts.breaks:
            raise CommandError(f"The audit is not as it was written; the runs are sound: {total}.", returncode=1)
        self.stdout.write(self.style.SUCCESS(f"Sound: {total}."))
        if acts.digest:
            self.stdout.write(f"The audit ends with {acts.digest}; kept elsewhere, it proves later that nothing was taken off.")


def _runs(run_id: str | None) -> Iterable[Run]:
    if run_id is None:
        return verifying.all_runs()
    try:
        return [Run.objects.get(pk=run_id)]
    except (Run.DoesNotExist, ValidationError):
        raise CommandError(f"--run {run_id}: the id of a run was expected") from None
