"""How the pages look to somebody: light or dark, and in which zone times are shown."""

from dataclasses import dataclass
from typing import Any

from approvals.models import Preference
from console.models import Profile


@dataclass(frozen=True)
class Look:
    """``zone`` is empty where the browser's own is meant."""

    theme: str
    utc: bool
    zone: str

    @classmethod
    def of(cls, user: Any) -> "Look":
        profile = Profile.of(user)
        zone = Preference.objects.filter(user=user.pk).values_list("zone", flat=True).first() or ""
        return cls(profile.theme, profile.utc, "UTC" if profile.utc else zone)
