"""How a person wants the pages to look; they say so themselves."""

from typing import Any

from django.db import transaction

from approvals.models import Preference
from approvals.services import preferences
from console.models import Profile, Theme


@transaction.atomic
def change(user: Any, *, theme: str, utc: bool, zone: str) -> Profile:
    """Set all of it. ``zone`` is the one in which they are reached, too. Raises preferences.PreferenceInvalid."""
    if theme not in Theme.values:
        raise preferences.PreferenceInvalid(
            {"theme": f"one of {', '.join(filter(None, Theme.values))}, or nothing, was expected"}
        )
    if zone != Preference.of(user).zone:
        preferences.set_zone(user, zone)
    return Profile.objects.update_or_create(user=user, defaults={"theme": theme, "utc": utc})[0]


def show_utc(user: Any, utc: bool) -> Profile:
    return Profile.objects.update_or_create(user=user, defaults={"utc": utc})[0]
