"""How a person wants the pages to look."""

from typing import Any

from django.conf import settings
from django.db import models


class Theme(models.TextChoices):
    SYSTEM = "", "as the device has it"
    LIGHT = "light", "light"
    DARK = "dark", "dark"


class Profile(models.Model):
    """Who has no row has the defaults. The time zone is the one in which they are reached (``approvals.Preference``)."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="profile")
    theme = models.CharField(max_length=10, choices=Theme, default=Theme.SYSTEM, blank=True)
    utc = models.BooleanField(default=False)  # all times are shown in UTC

    def __str__(self) -> str:
        return f"{self.user}: {self.theme or 'system'}"

    @classmethod
    def of(cls, user: Any) -> "Profile":
        """Theirs, or the defaults."""
        return Profile.objects.filter(user=user.pk).first() or Profile(user=user)
