"""Being out of office, with a deputy."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from approvals.models import Absence
from approvals.refusals import InvalidDecision
from approvals.services.people import FARTHEST, person
from runs.access import require
from runs.clock import database_now
from runs.models import Act
from runs.services import audit


@transaction.atomic
def announce(*, by: Any, deputy: str, starts: datetime, ends: datetime, user: Any = None) -> Absence:
    """From ``starts`` to ``ends`` the deputy may decide what the user may; admins say so for others too.

    Raises InvalidDecision, NotPermitted.
    """
    user = by if user is None else user
    if user.pk != by.pk:
        require(by, "administer")
    found = person(deputy)
    if found is None or found.pk == user.pk:
        raise InvalidDecision({"deputy": f"the name of another person who can sign in was expected, not {deputy[:100]!r}"})
    User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two of them at one time would overlap
    now = database_now()
    if not starts < ends or not timedelta(0) < ends - now < FARTHEST:
        raise InvalidDecision({"ends": "a time after the start, in the future and within ten years, was expected"})
    if starts < now - FARTHEST:
        raise InvalidDecision({"starts": "a time within the last ten years was expected"})
    if Absence.objects.filter(user=user, starts__lt=ends, ends__gt=starts).exists():
        raise InvalidDecision({"starts": "another absence is in the way; end that first"})
    changed = {"deputy": found.get_username(), "starts": starts.isoformat(), "ends": ends.isoformat()}
    audit.record(by, Act.ABSENCE_SET, subject=user.get_username(), changed=changed)
    return Absence.objects.create(user=user, deputy=found, starts=starts, ends=ends, set_by=by)


@transaction.atomic
def end(absence: Absence, *, by: Any) -> None:
    """Be back, now. Raises NotPermitted for somebody else's, but for admins."""
    if absence.user_id != by.pk:
        require(by, "administer")
    audit.record(by, Act.ABSENCE_ENDED, subject=absence.user.get_username(), changed={"deputy": absence.deputy.get_username()})
    now = database_now()
    if absence.starts >= now:
        absence.delete()
    else:
        absence.ends = min(absence.ends, now)
        absence.save(update_fields=["ends"])
