"""How the pages look to somebody: light or dark, and in which zone times are shown."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User


@dataclass(frozen=True)
class Look:
    """``zone`` is empty where the browser's own is meant."""

    theme: str
    utc: bool
    zone: str

    @classmethod
    def of(cls, user: Any) -> "Look":
        rows = User.objects.filter(pk=user.pk)
        theme, utc, zone = rows.values_list("profile__theme", "profile__utc", "preference__zone").get()
        return cls(theme or "", bool(utc), "UTC" if utc else zone or "")
