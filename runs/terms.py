"""What each term of a query means to the database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce

from runs import filters
from runs.clock import Now, database_now
from runs.models import RunQuerySet
from runs.moves import FINAL, Status
from runs.query import QueryInvalid, Term, parse
from workflows.durations import seconds

Question = Callable[[RunQuerySet], RunQuerySet]
TOKENS = F("input_tokens") + F("output_tokens")
NUMBERS = {"cost": "cost_usd", "tokens": "all_tokens"}
TIMES = {"started": "created_at", "finished": "finished_at"}
PLAIN = {"workflow": "workflow", "version": "version", "by": "created_by__username"}
IS: dict[str, Question] = {
    "stuck": lambda runs: runs.stuck(),
    "late": lambda runs: runs.late(),
    "unfinished": lambda runs: runs.unfinished(),
    "finished": lambda runs: runs.filter(status__in=FINAL),
    "fork": lambda runs: runs.filter(forked_from__isnull=False),
    "resumed": lambda runs: runs.filter(Q(saved_seconds__gt=0) | Q(saved_tokens__gt=0)),
    "retrying": lambda runs: runs.filter(status=Status.QUEUED, failures__gt=0),
    "asked-to-stop": lambda runs: runs.exclude(requested=""),
    "broken": lambda runs: runs.filter(broken_at__isnull=False),
}
MINE = "mine"  # gates are a higher app's: whoever lists says which runs wait for the user


def took(now: Any) -> Any:
    """How long a run took; one that is unfinished, until ``now``."""
    return ExpressionWrapper(Coalesce(F("finished_at"), now) - F("created_at"), output_field=DurationField())


def narrow(runs: RunQuerySet, query: str | list[Term], *, mine: Question | None = None) -> RunQuerySet:
    """Only the runs that every term fits. Raises QueryInvalid that names the term and what was expected."""
    for term in parse(query) if isinstance(query, str) else query:
        found = _narrowed(runs, term, mine)
        runs = runs.exclude(pk__in=found.values("pk")) if term.negated else found
    return runs


def _narrowed(runs: RunQuerySet, term: Term, mine: Question | None) -> RunQuerySet:
    base = runs.model.objects.all() if term.negated else runs
    name, value = term.name, term.value
    if not name:
        return base.filter(filters.matching(value))
    if name == "is":
        return _is(base, value, mine)
    if name == "status":
        return base.filter(status__in=_statuses(value))
    if name in PLAIN:
        return base.filter(**{f"{PLAIN[name]}__in": value.split(",")})
    if name == "step":
        steps = value.split(",")
        return base.filter(Q(step__in=steps) | Q(error__step__in=steps))  # a failed branch's is not the run's own
    if name.startswith("label."):
        return base.filter(labels__contains={name.removeprefix("label."): value})
    if name == "error":
        return base.filter(Q(error__message__icontains=value) | Q(error__type__icontains=value))
    if name == "id":
        return base.filter(filters.by_id(value))
    if name in TIMES:
        return base.filter(**_time(name, value))
    if name == "waiting":
        return base.filter(pk__in=runs.model.objects.filter(**_waiting(value)).values("pk"))
    if name == "took":
        sign, length = _compared(name, value, "a length such as >5m", lambda text: timedelta(seconds=seconds(text)))
        return base.annotate(took=took(Now())).filter(**{f"took__{sign}": length})
    sign, number = _compared(name, value, "a number such as >1", _number)
    if name == "tokens":
        base = base.annotate(all_tokens=TOKENS)
    return base.filter(**{f"{NUMBERS[name]}__{sign}": number})


def _is(runs: RunQuerySet, value: str, mine: Question | None) -> RunQuerySet:
    if value == MINE and mine is not None:
        return mine(runs)
    if value not in IS:
        raise QueryInvalid(f"is: one of {', '.join([*IS, *([MINE] if mine else [])])} was expected, not {value[:50]!r}")
    return IS[value](runs)


def _statuses(value: str) -> list[str]:
    chosen = value.split(",")
    if unknown := [one for one in chosen if one not in Status.values]:
        raise QueryInvalid(f"status: one of {', '.join(Status.values)} was expected, not {unknown[0][:50]!r}")
    return chosen


def _compared(name: str, value: str, expected: str, read: Callable[[str], Any]) -> tuple[str, Any]:
    sign = {"<": "lt", ">": "gt"}.get(value[:1])
    try:
        if sign is None:
            raise ValueError
        return sign, read(value[1:])
    except (ValueError, InvalidOperation, OverflowError):
        raise QueryInvalid(f"{name}: {expected} was expected, not {value[:50]!r}") from None


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite() or abs(number) > 10**15:
        raise ValueError
    return number.quantize(Decimal("0.000001"))


def _time(name: str, value: str) -> dict[str, Any]:
    """``<2h``: less than two hours ago; ``today``; a day; ``>2026-11-21`` after it began; ``a..b``. Days are UTC's."""
    field = TIMES[name]
    try:
        if ".." in value:
            first, last = value.split("..", 1)
            return {f"{field}__gte": _moment(first), f"{field}__lt": _moment(last)}
        if value[:1] in "<>" and value[1:2].isdigit() and not _is_date(value[1:]):
            ago = database_now() - timedelta(seconds=seconds(value[1:]))
            return {f"{field}__{'gte' if value[0] == '<' else 'lt'}": ago}
        if value[:1] in "<>":
            return {f"{field}__{'lt' if value[0] == '<' else 'gte'}": _moment(value[1:])}
        day = _moment(value)
        return {f"{field}__gte": day, f"{field}__lt": day + timedelta(days=1)}
    except (ValueError, OverflowError):
        raise QueryInvalid(
            f"{name}: <2h, today, 2026-11-21 or 2026-11-20..2026-11-21 was expected, not {value[:50]!r}"
        ) from None


def _waiting(value: str) -> dict[str, Any]:
    """Of runs with a gate that has been open for less, for more, or for between so long."""
    now = database_now()
    try:
        if ".." in value:
            least, most = (timedelta(seconds=seconds(part)) for part in value.split("..", 1))
            span = {"gates__opened_at__lte": now - least, "gates__opened_at__gt": now - most}
        else:
            sign = {"<": "gt", ">": "lte"}[value[:1]]
            span = {f"gates__opened_at__{sign}": now - timedelta(seconds=seconds(value[1:]))}
        return {"gates__status": "open", **span}
    except (ValueError, KeyError, OverflowError):
        raise QueryInvalid(f"waiting: <1h, 1h..8h or >24h was expected, not {value[:50]!r}") from None


def _is_date(text: str) -> bool:
    return len(text) >= 10 and text[4:5] == "-"


def _moment(text: str) -> datetime:
    if text == "today":
        return database_now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
