"""Sending what is due. Each delivery is taken for a while, sent outside of any transaction, and noted.

Whoever dies between sending and noting leaves it taken; when that time is over it is sent once more, with the same id.
"""

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F

from approvals import rights
from approvals.models import Channel, ChannelKind, Delivery, DeliveryState, Gate, Occasion, Try
from approvals.notifying import apprising, mailing, schedule, slacking, webhooks
from approvals.notifying.sending import NotTaken, in_time
from approvals.services import channels
from checkpoints.sealing import SecretsLocked
from runs.access import may
from runs.clock import Now, database_now

TAKEN_FOR = timedelta(seconds=120)  # longer than one message ever takes
REST = 30.0  # seconds for which an overloaded receiver is left in peace, where it names no time
AWAY, LONGEST = 5.0, 60.0  # the same for one that cannot be reached, times its failures: it would hold up all others
TOGETHER = 100  # deliveries in one digest
_mail_rests_until: datetime | None = None
log = logging.getLogger("holdfast.notify")


def deliver(seconds: float) -> bool:
    """Send what is due, for so long at most. True: there may be more."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not (taken := take()):
            return False
        try:
            send(taken)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # a fault of ours: the others are sent all the same
            log.exception("deliveries %s cannot be sent", [one.pk for one in taken])
            later = database_now() + schedule.PAUSES[1]
            Delivery.objects.waiting().filter(pk__in=[one.pk for one in taken]).update(due_at=later)
    return True


@transaction.atomic
def take() -> list[Delivery]:
    """The delivery that is due the longest, with what goes in the same digest; for a while nobody else sends it."""
    free = Delivery.objects.due().select_for_update(skip_locked=True, of=("self",)).order_by("due_at", "id")
    if _mail_rests_until is not None and database_now() < _mail_rests_until:
        free = free.filter(user=None)
    first = free.first()
    if first is None:
        return []
    found = list(free.filter(user=first.user_id, digest=True)[:TOGETHER]) if first.digest else [first]
    ids = [one.pk for one in found]
    Delivery.objects.filter(pk__in=ids).update(taken_until=Now() + TAKEN_FOR, tries=F("tries") + 1)
    return list(
        Delivery.objects.filter(pk__in=ids).select_related("run", "gate__run", "user", "channel").order_by("created_at")
    )


def send(taken: list[Delivery]) -> None:
    """Send them together and note what became of it. What there is nothing left to do about is not sent to a person."""
    wanted = [one for one in taken if not is_overtaken(one)]
    for one in taken:
        if one not in wanted:
            _end(one, DeliveryState.OVERTAKEN)
    if not wanted:
        return
    began = time.monotonic()
    status, refused = send_once(wanted)
    took = round((time.monotonic() - began) * 1000)
    for one in wanted:
        _note(one, took, status, refused)


def send_once(wanted: list[Delivery]) -> tuple[int | None, NotTaken | None]:
    """Try it; the receiver's status, and why it was not taken. Nothing is noted."""
    try:
        return in_time(lambda: _send(wanted)), None
    except NotTaken as error:
        return None, error
    except SecretsLocked as error:
        return None, NotTaken(str(error))
    except Exception as error:  # a fault of ours, or of a library: the others are sent all the same
        log.exception("delivery %s cannot be sent", wanted[0].pk)
        return None, NotTaken(webhooks.story(error))


def _send(wanted: list[Delivery]) -> int | None:
    """The receiver's status, where it has one. Raises NotTaken."""
    first = wanted[0]
    channel = first.channel
    if channel is None:
        if not settings.HOLDFAST_SENDS_MAIL:
            raise NotTaken("HOLDFAST_SMTP_URL is not set: no e-mail can be sent")
        mailing.send(wanted)
        return None
    if channel.kind == ChannelKind.WEBHOOK:
        return webhooks.send(first, channel)
    url = channels.opened(channel)["url"]
    if channel.kind == ChannelKind.SLACK:
        return slacking.send(first, url)
    apprising.send(first, url)
    return None


def is_overtaken(delivery: Delivery) -> bool:
    """Whether nobody has to be told any more: a person who cannot act, or may not see it; a room that is asked what is decided.

    A program hears of everything.
    """
    asks, user = Occasion(delivery.occasion).asks, delivery.user
    gate = None if delivery.gate_id is None else Gate.objects.for_list().get(pk=delivery.gate_id)
    if user is None:
        is_program = delivery.channel is not None and delivery.channel.kind == ChannelKind.WEBHOOK
        return gate is not None and asks and not gate.is_open and not is_program
    if not user.is_active or not _sees(user, delivery):
        return True
    return gate is not None and asks and (not gate.is_open or rights.standing(gate, user).right is None)


def _sees(user: Any, delivery: Delivery) -> bool:
    if delivery.gate_id is None:
        return may(user, "see")
    return Gate.objects.visible_to(user).filter(pk=delivery.gate_id).exists()


@transaction.atomic
def _note(delivery: Delivery, took_ms: int, status: int | None, refused: NotTaken | None) -> None:
    now = database_now()
    again = None
    if refused is not None and not refused.gone:
        again = schedule.next_try(delivery.tries, now, refused.retry_after)
    Try.objects.create(
        delivery=delivery, at=now, took_ms=took_ms, next_at=again, error=str(refused) if refused else "",
        status=refused.status if refused else status,
    )  # fmt: skip
    if refused is None:
        _end(delivery, DeliveryState.SENT)
    elif again is None:
        _end(delivery, DeliveryState.FAILED)
    else:
        Delivery.objects.filter(pk=delivery.pk).update(due_at=again, taken_until=None)
    if delivery.channel_id is None:
        _note_mail(now, refused)
    else:
        _note_health(delivery.channel_id, now, refused)


def note_test(channel: Channel, refused: NotTaken | None) -> None:
    """A test says whether it works now; what waits is tried by its own schedule."""
    if refused is None:
        _note_well(channel.pk)
    else:
        Channel.objects.filter(pk=channel.pk).update(last_error=str(refused))


def _note_well(channel_id: int) -> None:
    well = {"failures": 0, "failing_since": None, "last_error": "", "last_ok_at": Now(), "rests_until": None}
    Channel.objects.filter(pk=channel_id).update(**well)


def _rest(refused: NotTaken, failures: int) -> float:
    """Seconds for which nothing is sent there; what answers and merely refuses costs the others nothing."""
    if refused.rest:
        return min(refused.retry_after or REST, schedule.LONGEST)
    return 0.0 if refused.status is not None else min(LONGEST, AWAY * failures)


def _end(delivery: Delivery, state: DeliveryState) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(state=state, final_at=Now(), taken_until=None)


def _note_mail(now: datetime, refused: NotTaken | None) -> None:
    """The mail server has no row of its own: each process finds out, and leaves it in peace for a moment."""
    global _mail_rests_until
    _mail_rests_until = now + timedelta(seconds=AWAY) if refused is not None and refused.rest else None


def _note_health(channel_id: int, now: datetime, refused: NotTaken | None) -> None:
    if refused is None:
        _note_well(channel_id)
        return
    channel = Channel.objects.select_for_update(of=("self",)).get(pk=channel_id)
    channel.failures += 1
    channel.failing_since = channel.failing_since or now
    channel.last_error = str(refused)
    channel.rests_until = now + timedelta(seconds=_rest(refused, channel.failures))
    if refused.gone and channel.is_enabled:
        channel.disabled_at, channel.disabled_why = now, "its receiver wants no more (410 Gone)"
    channel.save(
        update_fields=["failures", "failing_since", "last_error", "rests_until", "disabled_at", "disabled_why"]
    )  # fmt: skip
