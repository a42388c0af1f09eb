from typing import Any

from django.core.management.base import BaseCommand

from engine.sweeper import Sweeper


class Command(BaseCommand):
    help = "Run the sweeper: lost messages, lost workers, retries and gate clocks that are due. Several may run, one acts."

    def handle(self, *args: Any, **options: Any) -> None:
        Sweeper().run_forever()
