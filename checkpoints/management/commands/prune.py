"""``manage.py prune``: what the workflows' retention says, now and to the end; the sweeper does the same little by little."""

from typing import Any

from django.core.management.base import BaseCommand

from checkpoints import pruning
from runs.services import audit


class Command(BaseCommand):
    help = "Prune the histories of runs whose workflow's retention is over. Never of an unfinished run."

    def handle(self, *args: Any, **options: Any) -> None:
        total = 0
        while pruned := pruning.prune():
            total += pruned
        audit.record_maintenance("prune", f"{total} runs")
        self.stdout.write(f"Pruned: {total} run{'' if total == 1 else 's'}.")
