"""Who hears of an occasion: people by what they have to do with it, channels by what they were set up for."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db.models import Q

from approvals import rights
from approvals.models import Absence, Channel, Gate, Occasion, Preference
from approvals.notifying.occasions import Told
from runs.access import ADMIN, OPERATOR

FOLLOWING = (Occasion.DECIDED, Occasion.EXPIRED, Occasion.WITHDRAWN)


def channels(told: Told) -> list[Channel]:
    named = () if told.gate is None else told.gate.policy.get("notify", ())
    return list(Channel.objects.hearing(told.occasion, told.run.workflow, named))


def people(told: Told) -> list[User]:
    """Who hears of it by themselves. Whoever did it needs no message."""
    return [user for user in _concerned(told) if user.get_username() != told.event.by]


def _concerned(told: Told) -> Iterable[User]:
    gate = told.gate
    if told.occasion.is_of_a_run or gate is None:
        return _of_the_run(told)
    if told.occasion == Occasion.DELEGATED:
        return User.objects.filter(username=told.detail.get("to", ""), is_active=True)
    if told.occasion == Occasion.MENTIONED:
        return User.objects.filter(username__in=told.detail.get("mentions", ()), is_active=True)
    if told.occasion in FOLLOWING:  # whoever was asked, and whose run it is
        asked = Q(deliveries__gate=gate)
        return User.objects.filter(asked | Q(pk=told.run.created_by_id), is_active=True).distinct()
    return may_decide(gate)


def may_decide(gate: Gate) -> list[User]:
    """Everybody who could decide the gate now: whom it names, their deputies, and to whom it was passed on."""
    named = Q(username__in=gate.approver_users) | Q(groups__name__in=gate.approver_groups)
    deputies = Q(pk__in=Absence.objects.now().values("deputy"))
    given = Q(pk__in=gate.delegations.filter(ended_at=None).values("receiver"))
    able = User.objects.filter(named | deputies | given, is_active=True).distinct().order_by("pk")
    return [user for user in able if rights.standing(gate, user).right is not None]


def _of_the_run(told: Told) -> Iterable[User]:
    """Whoever started it, and operators who want to hear of everybody's."""
    every = Preference.objects.filter(all_runs=True).values("user")
    operators = Q(pk__in=every) & (Q(groups__name__in=(OPERATOR, ADMIN)) | Q(is_superuser=True))
    return User.objects.filter(Q(pk=told.run.created_by_id) | operators, is_active=True).distinct()
