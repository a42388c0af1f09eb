"""What the console keeps for the people who look at it."""

from console.models.profile import Profile, Theme
from console.models.view import SavedView

__all__ = ["Profile", "SavedView", "Theme"]
