"""From the outbox to one delivery for each recipient."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, transaction

from approvals.models import Delivery, Occasion, Pace, Preference
from approvals.notifying import occasions, recipients, schedule
from approvals.notifying.occasions import Told
from runs.clock import Now, database_now
from runs.models import Notice

BATCH = 100
PATIENCE = 3  # tries of an earlier notice of the run for which the later ones wait
LONGEST = timedelta(hours=1)  # before a notice is tried again
log = logging.getLogger("holdfast.notify")


def hand_on() -> int:
    """Hand on what is due in the outbox, each notice in its own transaction; how many were."""
    done = 0
    for pk in list(Notice.objects.filter(due_at__lte=Now()).order_by("due_at").values_list("pk", flat=True)[:BATCH]):
        try:
            done += _hand_on(pk)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("notice %s cannot be handed on; pushed back", pk)
            _push_back(pk)
    return done


def _push_back(pk: int) -> None:
    """It is tried again after a pause that doubles, up to an hour; the others go on."""
    for notice in Notice.objects.filter(pk=pk):
        notice.tries += 1
        notice.due_at = database_now() + min(LONGEST, timedelta(seconds=2.0 ** min(notice.tries, 20)))
        notice.save(update_fields=["tries", "due_at"])


@transaction.atomic
def _hand_on(pk: int) -> bool:
    """False: somebody else has it, or had it."""
    notice = Notice.objects.select_for_update(skip_locked=True).filter(pk=pk).first()
    if notice is None or Notice.objects.filter(run=notice.run_id, seq__lt=notice.seq, tries__lt=PATIENCE).exists():
        return False  # somebody else has it; or an earlier one of the run comes first, for who heard of that may hear of this
    told = occasions.of(notice.run_id, notice.seq)
    if told is not None:
        Delivery.objects.bulk_create(deliveries(told), ignore_conflicts=True)
    notice.delete()
    return True


def deliveries(told: Told) -> list[Delivery]:
    """One for each channel that hears of it, and for each person who wants to be told by e-mail."""
    now, body = database_now(), occasions.body(told)
    common = {"occasion": told.occasion, "run": told.run, "seq": told.event.seq, "gate": told.gate, "body": body}
    found = [Delivery(channel=channel, due_at=now, **common) for channel in recipients.channels(told)]
    deadline = told.gate.due_at if told.gate is not None and told.occasion.asks else None
    for user in recipients.people(told):
        when = _when(told.occasion, user, told.run.workflow, now, deadline)
        if when is not None:
            found.append(Delivery(user=user, due_at=when[0], digest=when[1], **common))
    return found


def _when(
    occasion: Occasion, user: User, workflow: str, now: datetime, deadline: datetime | None
) -> tuple[datetime, bool] | None:  # fmt: skip
    """When the person is told by e-mail, and whether with others; None: not at all."""
    preference = Preference.of(user)
    pace = preference.pace(workflow)
    if not settings.HOLDFAST_SENDS_MAIL or not user.email or pace == Pace.OFF or occasion not in preference.events:
        return None
    return schedule.due(preference, pace, now, deadline)
