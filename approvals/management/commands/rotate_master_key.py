"""``manage.py rotate_master_key``: wrap every run's key, and the channels' secrets, with the first of HOLDFAST_MASTER_KEY."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals.services import channels
from checkpoints import sealing
from runs.services import audit


class Command(BaseCommand):
    help = "Wrap the key of every run, and each channel's secrets, anew with the first of HOLDFAST_MASTER_KEY."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = sealing.rotate() + channels.rotate_master_key()
        except sealing.SecretsLocked as error:
            raise CommandError(str(error)) from None
        audit.record_maintenance("rotate_master_key")
        self.stdout.write(f"Wrapped anew: {count} key{'' if count == 1 else 's'}. The other master keys can be taken out now.")
