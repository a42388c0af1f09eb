"""Pages of a run's history: one checkpoint, a value in it, two of them compared, one field through all of them."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from checkpoints import inspect, key_history, revealing, showing, store, tree, verifying
from checkpoints.models import Checkpoint
from runs import lineage
from runs.access import NotPermitted, may
from runs.models import Run
from runs.views import whole_number
from workflows.errors import StateUnreadable

CHANGES = 50  # of one field, on a page


def _run(request: HttpRequest, run_id: uuid.UUID) -> Run:
    return get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)


def _page(request: HttpRequest, name: str, part: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """The page, or only the part of it that htmx has asked for."""
    template = f"{name}#{part}" if request.htmx else name  # type: ignore[attr-defined]
    return render(request, template, context, status=status)


def _read(request: HttpRequest, run: Run, seq: int, show: Callable[[], HttpResponse]) -> HttpResponse:
    """What ``show`` makes of the history; or why it cannot be read there."""
    try:
        return show()
    except store.StatePruned:
        return _unread(request, run, seq, pruned=True)
    except (store.CheckpointMissing, tree.PathMissing):
        raise Http404 from None
    except store.HistoryBroken as error:
        verifying.note(error)
        return _broken(request, run, error)


def _broken(request: HttpRequest, run: Run, error: store.HistoryBroken) -> HttpResponse:
    """What is broken, and the last state before it that is sound."""
    try:
        last = _checkpoint(request, run, error.seq - 1)
    except (store.HistoryBroken, store.CheckpointMissing):
        last = {"run": run}
    return _page(request, "checkpoints/detail.html", "state", {**last, "broken": error})


def _unread(request: HttpRequest, run: Run, seq: int, **why: Any) -> HttpResponse:
    return _page(request, "checkpoints/detail.html", "state", {"run": run, "seq": seq, **why})


@login_required
def checkpoint_detail(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    """The state after a step, what the step changed, what it saw and returned."""
    run = _run(request, run_id)
    return _read(request, run, seq, lambda: _page(request, "checkpoints/detail.html", "state", _checkpoint(request, run, seq)))


def _checkpoint(request: HttpRequest, run: Run, seq: int) -> dict[str, Any]:
    row = store.find(run.pk, seq)
    found = inspect.checkpoint_as_json(run, row.seq)
    around = Checkpoint.objects.filter(run=run).values_list("seq", flat=True)
    changes, total = showing.changes_of(run, row)
    before, seen = around.filter(seq__lt=row.seq).order_by("-seq").first(), found["saw"]
    changed = frozenset(name for part in found["delta"].values() for name in part)
    return {
        "run": run,
        "asked": seq if seq != row.seq and ("at" in request.GET or not request.htmx) else None,  # type: ignore[attr-defined]
        "checkpoint": found,
        "nodes": tree.of_state(found["state"], changed),
        "changes": changes[: showing.FEW],
        "more": total - showing.FEW,
        "saw": [] if seen is None or before is None else _saw(run, before, seen),
        "before": before,
        "after": around.filter(seq__gt=row.seq).order_by("seq").first(),
        "may_administer": may(request.user, "administer"),
    }


def _saw(run: Run, before: int, names: list[str]) -> list[tree.Node]:
    try:
        state = inspect.state_at(run, before)
    except store.StatePruned:
        return []
    return tree.of_state({name: state[name] for name in names if name in state})


@login_required
def value_list(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    """What is inside one value of a state, a page at a time; a long text as Markdown, or all of it as a file."""
    run = _run(request, run_id)
    pointer, how = request.GET.get("path", ""), request.GET.get("as", "")
    after = whole_number(request.GET.get("after", "")) or 0

    def show() -> HttpResponse:
        state = inspect.state_at(run, seq)
        node = tree.at(state, pointer, after=after)
        if how == "text":
            return _file(str(tree.find(state, pointer)[0]), "text/plain", f"{run.workflow}-{run.short_id}-{seq}.txt")
        context = {"run": run, "node": node, "seq": seq, "nodes": node.children or [node]}
        part = "markdown" if how == "markdown" else "items" if after else "children"
        return _page(request, "checkpoints/value.html", part, context)

    return _read(request, run, seq, show)


@login_required
def value_search(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    """The keys and values of a state that contain a text."""
    run = _run(request, run_id)
    wanted = request.GET.get("q", "").strip()[:200]

    def show() -> HttpResponse:
        if not wanted:  # the box was emptied
            return _page(request, "checkpoints/detail.html", "tree", _checkpoint(request, run, seq))
        found, more = tree.search(inspect.state_at(run, seq), wanted)
        context = {"run": run, "seq": seq, "wanted": wanted, "nodes": found, "more": more}
        context |= {"may_administer": may(request.user, "administer")}
        return _page(request, "checkpoints/search.html", "found", context)

    return _read(request, run, seq, show)


@login_required
def checkpoint_file(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    """The state as a JSON file; secrets are masked."""
    run = _run(request, run_id)

    def show() -> HttpResponse:
        text = json.dumps(inspect.state_at(run, seq), indent=2, ensure_ascii=False)
        return _file(text, "application/json", f"{run.workflow}-{run.short_id}-{seq}.json")

    return _read(request, run, seq, show)


def _file(text: str, kind: str, name: str) -> HttpResponse:
    return HttpResponse(text, f"{kind}; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'})


@login_required
@require_POST
def secret_create(request: HttpRequest, run_id: uuid.UUID, seq: int) -> HttpResponse:
    """Reveal a secret to an admin; the journal says so first."""
    run = _run(request, run_id)
    field, reason = request.POST.get("field", ""), request.POST.get("reason", "")
    try:
        value = revealing.reveal(run_id, seq, field, by=request.user, reason=reason)
    except (NotPermitted, revealing.NotSecret, StateUnreadable, store.HistoryBroken, store.CheckpointMissing) as error:
        status = 403 if isinstance(error, NotPermitted) else 409
        return _page(request, "checkpoints/secret.html", "secret", {"run": run, "refused": str(error)}, status)
    context = {"run": run, "seq": seq, "field": field, "node": tree.of_state({field: value})[0]}
    response = _page(request, "checkpoints/secret.html", "secret", context)
    response["Cache-Control"] = "no-store"
    return response


@login_required
def comparison_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Two states, of one run or of two, side by side or in one."""
    run = _run(request, run_id)
    other, wrong = run, ""
    if wanted := request.GET.get("other_run", "").strip():
        try:
            other = _run(request, uuid.UUID(wanted))
        except (ValueError, Http404):
            wrong = f"There is no run {wanted[:60]!r} that you may see."
    a, b = whole_number(request.GET.get("a", "")), whole_number(request.GET.get("b", ""))
    a = (run.seq if other != run else 0) if a is None else a
    b = other.seq if b is None else b
    context: dict[str, Any] = {"run": run, "other": other, "a": a, "b": b, "wrong": wrong}
    try:
        context["a"], context["b"], found = inspect.compare(run, a, other, b)
        context |= {"differences": showing.shown(found), "more": max(0, len(found) - showing.MOST)}
    except store.HistoryBroken as error:
        verifying.note(error)
        context["broken"] = error
    except store.CheckpointMissing as error:
        context["wrong"] = f"{str(error).capitalize()}."
    context |= {
        "view": "inline" if request.GET.get("view") == "inline" else "side",
        "relatives": [one.run for one in lineage.page(run)[1] if one.run.pk != run.pk],
    }
    return _page(request, "checkpoints/compare.html", "comparison", context)


@login_required
def key_history_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Every checkpoint at which one field changed."""
    run = _run(request, run_id)
    key = request.GET.get("key", "").strip()
    after = whole_number(request.GET.get("after", ""))

    def show() -> HttpResponse:
        try:
            start = -1 if after is None else after
            items, following = key_history.changes(run, key, after=start, limit=CHANGES) if key else ([], None)
        except key_history.KeyInvalid as error:
            return _page(request, "checkpoints/history.html", "history", {"run": run, "key": key, "wrong": str(error)}, 422)
        context = {"run": run, "key": key, "items": items, "next": following, "after": after}
        return _page(request, "checkpoints/history.html", "items" if after is not None else "history", context)

    return _read(request, run, run.seq, show)


@login_required
def proof_detail(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Whether the whole history is as it was written; the run page asks once it is there."""
    run = _run(request, run_id)
    return _page(request, "checkpoints/proof.html", "proof", {"run": run, "report": verifying.verify_and_note(run)})
