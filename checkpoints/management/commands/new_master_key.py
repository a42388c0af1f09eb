"""``manage.py new_master_key``: print a key for HOLDFAST_MASTER_KEY."""

from typing import Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print a new key for HOLDFAST_MASTER_KEY. Put it before the ones there are, then run rotate_master_key."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(Fernet.generate_key().decode())
