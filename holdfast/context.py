"""What the frame of every page shows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from approvals.models import Gate
from holdfast import VERSION
from runs.access import roles
from runs.models import WorkflowHold


def frame(request: HttpRequest) -> dict[str, Any]:
    """Lazy where it costs a query: fragments do not pay for the frame."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"holdfast_version": VERSION}
    return {
        "holdfast_version": VERSION,
        "roles": roles(user),
        "inbox_count": lambda: Gate.objects.decidable_by(user).count(),
        "held_workflows": lambda: WorkflowHold.objects.open().order_by("workflow"),
        "demo": settings.HOLDFAST_DEMO,
    }
