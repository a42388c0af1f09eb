from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from holdfast.models import ApiToken
from runs import doors
from runs.models import Act
from runs.services import audit


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
        with transaction.atomic():
            token = ApiToken.issue(user, name=options["name"])
            audit.record(doors.host_user(), Act.TOKEN_MADE, subject=f"for {user} {options['name']}".strip())
        self.stdout.write(f"Token for {user.username}: {token}")
