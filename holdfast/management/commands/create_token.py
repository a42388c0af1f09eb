from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from holdfast import tokens
from runs import doors


class Command(BaseCommand):
    help = "Print a new API token for a user. It can be read only now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="", help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = User.objects.get(username=options["username"], is_active=True)
        except User.DoesNotExist:
            raise CommandError(f"No active user is called {options['username']!r}.") from None
        token = tokens.make(user, by=doors.host_user(), name=options["name"][: tokens.NAME])
        self.stdout.write(f"Token for {user.username}: {token}")
