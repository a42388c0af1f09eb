from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandParser

PEOPLE = {
    "alice": ["operator"],
    "bob": ["approver", "finance"],
    "erin": ["approver", "finance"],
    "carol": ["admin", "finance-leads"],
    "dave": ["viewer"],
}


class Command(BaseCommand):
    help = "Create the demo's users, all with one password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--password", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        encoded = ""  # all have one password: it is hashed once
        for name, groups in PEOPLE.items():
            user, _ = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.com"})
            if not encoded:
                encoded = user.password if user.check_password(options["password"]) else make_password(options["password"])
            user.password = encoded
            user.is_staff = user.is_superuser = name == "carol"
            user.save()
            user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
