"""How a person wants to be reached; they say so themselves."""

from collections.abc import Mapping
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction

from approvals.models import Occasion, Pace, Preference
from approvals.refusals import InvalidDecision
from runs.models import Act
from runs.services import audit

WORKFLOWS = 200  # that differ, at most


class PreferenceInvalid(InvalidDecision):
    """``errors`` maps a field to what was expected."""


@cache
def zones() -> Mapping[str, str]:
    """The time zones that every host knows, each by its name in small letters. Looking them up reads hundreds of files."""
    return {name.casefold(): name for name in available_timezones() - {"localtime"}}


@transaction.atomic
def change(user: Any, given: Mapping[str, Any]) -> Preference:
    """Set all of ``email, events, by_workflow, all_runs, browser, zone, digest_at, quiet_from, quiet_to``. Raises
    PreferenceInvalid.
    """
    errors: dict[str, str] = {}
    if given["email"] not in Pace.values:
        errors["email"] = f"one of {', '.join(Pace.values)} was expected"
    if not set(given["events"]) <= set(Occasion.real()):
        errors["events"] = "things that one can be told of were expected"
    by_workflow = {str(name): pace for name, pace in given["by_workflow"].items() if pace}
    if not set(by_workflow.values()) <= set(Pace.values) or len(by_workflow) > WORKFLOWS:
        errors["by_workflow"] = f"for each workflow one of {', '.join(Pace.values)} was expected"
    zone = _known(given["zone"], errors)
    if given["digest_at"] is None:
        errors["digest_at"] = "a time such as 08:00 was expected"
    if (given["quiet_from"] is None) != (given["quiet_to"] is None):
        errors["quiet_to"] = "both times of the quiet hours were expected, or neither"
    if errors:
        raise PreferenceInvalid(errors)
    return _saved(user, {**given, "zone": zone, "by_workflow": by_workflow})


@transaction.atomic
def set_zone(user: Any, zone: str) -> Preference:
    """Set the time zone alone. Raises PreferenceInvalid."""
    errors: dict[str, str] = {}
    known = _known(zone, errors)
    if errors:
        raise PreferenceInvalid(errors)
    return _saved(user, {"zone": known})


def _known(zone: Any, errors: dict[str, str]) -> str:
    """The zone as it is spelled; what is none is noted in ``errors``."""
    found = zones().get(str(zone).strip().casefold(), "")
    if not found:
        errors["zone"] = "a time zone such as Europe/Berlin was expected"
    return found


def _saved(user: Any, fields: Mapping[str, Any]) -> Preference:
    before = Preference.of(user).as_json()
    preference, _ = Preference.objects.update_or_create(user=user, defaults=fields)
    audit.record(user, Act.PREFERENCE_CHANGED, changed={"from": before, "to": preference.as_json()})
    return preference
