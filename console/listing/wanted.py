"""What a list of runs is asked for, as its address carries it."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from approvals import inbox
from console.listing import columns, sorting
from console.listing.system_views import SYSTEM
from console.models import SavedView
from runs import query as queries
from runs import terms
from runs.models import Run, RunQuerySet
from runs.views import whole_number


@dataclass
class Wanted:
    """``error`` says what is wrong with the query; nothing is listed then. ``view`` is the key of the view that was chosen."""

    query: str
    sort: str
    columns: list[str]
    view: str = ""
    terms: list[queries.Term] = field(default_factory=list)
    error: str = ""

    def address(self, **changes: Any) -> str:
        """The list's address with these changes; what is as usual is left out."""
        given = {"query": self.query, "sort": self.sort, "columns": ",".join(self.columns), **changes}
        usual = {"sort": sorting.USUAL, "columns": ",".join(columns.USUAL)}
        return "?" + urlencode({name: value for name, value in given.items() if value and value != usual.get(name)})


def wanted(given: QueryDict, user: Any) -> Wanted:
    """From the address: a view, or a query; the old ``status``, ``workflow`` and ``q`` are terms of it."""
    key = given.get("view", "")
    chosen = SYSTEM.get(key) or _saved(key, user)
    if chosen is not None and "query" not in given:
        shown = columns.chosen(getattr(chosen, "columns", []))
        found = Wanted(chosen.query, chosen.sort or sorting.USUAL, shown, key)
    else:
        sort = given.get("sort", "")
        names = [name for part in given.getlist("columns") for name in part.split(",")]
        found = Wanted(_query(given), sort if sort in sorting.ORDERS else sorting.USUAL, columns.chosen(names))
        if found == Wanted("", sorting.USUAL, columns.chosen([])):
            found.view = "all"
    try:
        found.terms = queries.parse(found.query)
    except queries.QueryInvalid as error:
        found.error = str(error)
    return found


def _saved(key: str, user: Any) -> SavedView | None:
    number = whole_number(key)
    return None if number is None else SavedView.objects.visible_to(user).filter(pk=number).first()


def _query(given: QueryDict) -> str:
    old = [queries.Term(name, value) for name in ("status", "workflow") if (value := given.get(name, "").strip())]
    old += [queries.Term("", word) for word in given.get("q", "").split()]
    typed = given.get("query", "").strip().replace("\0", "")
    return f"{typed} {queries.text_of(old)}".strip() if old else typed


def narrowed(found: Wanted, user: Any) -> RunQuerySet:
    """The runs that are wanted, of those that the user may see; none where the query is wrong, and ``error`` says why."""
    runs = Run.objects.visible_to(user)
    if not found.error:
        try:
            return terms.narrow(runs, found.terms, mine=lambda runs: waiting_for(runs, user))
        except queries.QueryInvalid as error:
            found.error = str(error)
    return runs.none()


def waiting_for(runs: RunQuerySet, user: Any) -> RunQuerySet:
    """Runs with a gate that the user could decide now, and nobody else is on."""
    return runs.filter(pk__in=inbox.gates(user, "mine").order_by().values("run"))
