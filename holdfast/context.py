"""What the frame of every page shows."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from approvals import inbox
from approvals.models import Channel
from console.look import Look
from holdfast import VERSION
from runs.access import may, roles
from runs.models import WorkflowHold


def frame(request: HttpRequest) -> dict[str, Any]:
    """Lazy where it costs a query: fragments do not pay for the frame."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"holdfast_version": VERSION}
    return {
        "holdfast_version": VERSION,
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
        "roles": roles(user),
        "inbox_count": lambda: inbox.tab(user, "mine").count_words,
        "held_workflows": lambda: WorkflowHold.objects.open().order_by("workflow"),
        "dead_channels": cache(lambda: list(Channel.objects.dead()) if may(user, "administer") else []),
        "demo": settings.HOLDFAST_DEMO,
        "look": SimpleLazyObject(lambda: Look.of(user)),
    }
