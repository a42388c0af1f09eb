"""Narrowing a list of runs, for the page and the API alike."""

import uuid
from datetime import datetime
from typing import Any, Protocol

from django.db.models import CharField, Q
from django.db.models.functions import Cast

from runs.models import Run, RunQuerySet


class FilterInvalid(ValueError):
    """A parameter of a list cannot be used. The text names it and what was expected."""


class Wanted(Protocol):
    status: Any
    workflow: str | None
    label: str | None
    q: str | None
    started_after: datetime | None
    started_before: datetime | None


def narrow(runs: RunQuerySet, wanted: Wanted) -> RunQuerySet:
    """Only the runs that match everything that is given. Raises FilterInvalid that names the parameter."""
    if wanted.status:
        runs = runs.filter(status=wanted.status)
    if wanted.workflow:
        runs = runs.filter(workflow=plain_text("workflow", wanted.workflow))
    if wanted.label:
        key, colon, value = plain_text("label", wanted.label).partition(":")
        if not colon or not key:
            raise FilterInvalid("label: key:value was expected")
        runs = runs.filter(labels__contains={key: value})
    if wanted.started_after:
        runs = runs.filter(started_at__gte=wanted.started_after)
    if wanted.started_before:
        runs = runs.filter(started_at__lt=wanted.started_before)
    return runs.filter(matching(plain_text("q", wanted.q))) if wanted.q else runs


def matching(text: str) -> Q:
    """Free text over id, workflow, step, labels and error."""
    found = Q(workflow__icontains=text) | Q(step__icontains=text) | Q(error__message__icontains=text)
    found |= Q(labels__icontains=text) | by_id(text)
    return found


def by_id(text: str) -> Q:
    """A whole id, or how one ends, from four characters on: ``…7f3a`` as pages show it, too."""
    text = text.removeprefix("…")
    try:
        return Q(pk=uuid.UUID(text))
    except ValueError:
        if len(text) < 4 or any(letter not in "0123456789abcdef-" for letter in text.lower()):
            return Q(pk__in=[])
        ending = Run.objects.annotate(text=Cast("id", CharField())).filter(text__endswith=text.lower())
        return Q(pk__in=ending.values("pk"))


def plain_text(name: str, value: str) -> str:
    if "\0" in value:
        raise FilterInvalid(f"{name}: text without NUL was expected")
    return value
