"""What is not kept for ever: messages that were sent long ago, and links that open nothing any more."""

from datetime import timedelta

from approvals.models import Delivery, DeliveryState, GateStatus, Link
from runs.clock import Now

KEPT = timedelta(days=90)
BATCH = 1000


def forget_messages() -> int:
    """Delete a batch of those; the journal and the audit keep what happened. How many."""
    old = Delivery.objects.exclude(state=DeliveryState.WAITING).filter(final_at__lt=Now() - KEPT)
    count, _ = Delivery.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:BATCH])).delete()
    links = Link.objects.filter(expires_at__lt=Now() - KEPT).exclude(gate__status=GateStatus.OPEN)
    return count + Link.objects.filter(pk__in=list(links.values_list("pk", flat=True)[:BATCH])).delete()[0]
