"""Saving a list of runs under a name, sharing it with a role, and deleting it."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from console.listing import columns as all_columns
from console.listing import sorting
from console.models import SavedView
from runs import query as queries
from runs.access import ROLES, NotPermitted, may, require
from runs.invalid import FieldsInvalid

MOST = 50  # views a person
NAME = 60  # characters


class ViewInvalid(FieldsInvalid):
    pass


@transaction.atomic
def save(
    *, by: Any, name: str, query: str = "", sort: str = "", columns: Sequence[str] = (), shared_with: str = ""
) -> SavedView:
    """Keep the list under this name; one's own of that name is replaced. Raises ViewInvalid, NotPermitted."""
    require(by, "see")
    errors = {}
    name = name.strip()
    if not name or len(name) > NAME or "\0" in name:
        errors["name"] = f"a name of 1 to {NAME} characters was expected"
    if shared_with not in ("", *ROLES):
        errors["shared_with"] = f"one of {', '.join(ROLES)}, or nothing, was expected"
    if sort not in ("", *sorting.ORDERS):
        errors["sort"] = f"one of {', '.join(sorting.ORDERS)} was expected"
    if unknown := [one for one in columns if one not in all_columns.ALL]:
        errors["columns"] = f"some of {', '.join(all_columns.ALL)} were expected, not {unknown[0][:50]!r}"
    try:
        queries.parse(query)
    except queries.QueryInvalid as error:
        errors["query"] = str(error)
    own = SavedView.objects.filter(owner=by.pk)
    if not errors and own.exclude(name=name).count() >= MOST:
        errors["name"] = f"you have {MOST} views; delete one first"
    if errors:
        raise ViewInvalid(errors)
    given = {"query": query, "sort": sort, "columns": list(columns), "shared_with": shared_with}
    return SavedView.objects.update_or_create(owner=by, name=name, defaults=given)[0]


def delete(view: SavedView, *, by: Any) -> None:
    """Its owner may, and an admin. Raises NotPermitted."""
    if view.owner_id != by.pk and not may(by, "administer"):
        raise NotPermitted("Only its owner, or an admin, may delete this view.")
    view.delete()
