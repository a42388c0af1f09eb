"""The page that forks a run: the state in a form, and beside it what would be kept, and what would run again."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from checkpoints import comparing, showing, store, verifying
from engine import fork_plan, usual
from engine.services import forking
from engine.services.starting import InputInvalid
from engine.views import changes_in
from runs.access import NotPermitted, require
from runs.models import Run
from runs.schema_form import SchemaForm, form_for
from runs.services.moves import MoveRefused
from runs.views import whole_number
from workflows import codec, masking, registry
from workflows import state as states
from workflows.errors import StateUnreadable, StepGone

EDITABLE = 20_000  # bytes of JSON of a value that is edited in a form; longer ones, and secrets, are given as JSON
SHOWN = 12  # differences beside the form
MODE = "effect-"  # before a step's name, in the names of the selects


@login_required
def fork_create(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """The form; a POST with ``preview`` shows what it would lead to, without one it forks."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    seq = whole_number(request.POST.get("seq") or request.GET.get("seq", ""))
    version = request.POST.get("version") or None
    try:
        require(request.user, "administer")
        plan = _plan(run, seq, version)
    except NotPermitted as error:
        return render(request, "error.html", {"title": "Not permitted", "text": str(error)}, status=403)
    except (InputInvalid, LookupError, store.HistoryBroken, StateUnreadable, StepGone) as error:
        return render(request, "error.html", {"title": "Nothing to fork from", "text": str(error)}, status=409)
    page = ForkPage(request, run, plan)
    if request.method != "POST" or page.is_preview:
        return page.shown()
    return page.forked()


def _plan(run: Run, seq: int | None, version: str | None) -> fork_plan.Plan:
    """From ``seq``, or from the last place that is sound. Raises what ``fork_plan.make`` does."""
    try:
        return fork_plan.make(run, fork_plan.last_place(run) if seq is None else seq, version=version)
    except store.HistoryBroken as error:
        verifying.note(error)
        run.refresh_from_db(fields=["broken_at"])
        if seq is not None:
            raise
        return fork_plan.make(run, fork_plan.last_place(run), version=version)


class ForkPage:
    """One request of the fork page: what was typed, and what it comes to."""

    def __init__(self, request: HttpRequest, run: Run, plan: fork_plan.Plan) -> None:
        self.request, self.run, self.plan = request, run, plan
        shown = states.shown_to_change(plan.workflow.state, plan.found.values)
        self.values = {name: value for name, value in shown.items() if len(codec.dumps(value)) <= EDITABLE}
        self.left_out = [name for name in plan.found.values if name not in self.values]
        schema = states.schema_of(plan.workflow.state, self.values)
        self.form: SchemaForm = form_for(schema)(request.POST or None, request.FILES or None, initial=self.values)
        self.errors: dict[str, str] = {}
        self.is_stale = False
        self.is_preview = "preview" in request.POST

    def given(self) -> dict[str, Any] | None:
        """The arguments of a fork; None where what was typed cannot be read."""
        changes: dict[str, Any] = {}
        if self.request.method == "POST":
            if not self.form.is_valid():
                if self.is_preview:
                    self.errors |= {name: "; ".join(map(str, self.form.errors[name])) for name in self.form.errors}
                return None
            changes = changes_in(self.form, self.values)
        try:
            changes |= self._as_json()
        except ValueError as error:
            self.errors["json"] = f"an object of changed fields was expected: {error}"
            return None
        return {"changes": changes, "effects": self.modes(), "version": self.request.POST.get("version") or None}

    def modes(self) -> dict[str, str]:
        """What was chosen by effect; one that is not chosen is not done again."""
        chosen = {name.removeprefix(MODE): str(value) for name, value in self.request.POST.items() if name.startswith(MODE)}
        return {name: mode for name, mode in chosen.items() if mode}

    def _as_json(self) -> dict[str, Any]:
        text = self.request.POST.get("json", "").strip()
        found = codec.loads(text) if text else {}
        if not isinstance(found, dict):
            raise ValueError(f"not {type(found).__name__}")
        return found

    def forked(self) -> HttpResponse:
        given, posted = self.given(), self.request.POST
        if given is None:
            return self.shown(status=422)
        try:
            made = forking.fork(
                self.run.pk, by=self.request.user, seq=self.plan.at.seq, source=posted.get("source", "leave"),
                reason=posted.get("reason", ""), key=posted.get("key") or None, **given,
            )  # fmt: skip
        except InputInvalid as error:
            self._tell(error.errors)
            return self.shown(status=422)
        except (MoveRefused, store.HistoryBroken, StateUnreadable, registry.WorkflowUnknown) as error:
            self.errors["source"] = f"{error} Nothing was forked."
            return self.shown(status=409)
        return redirect("run-detail", run_id=made.pk)

    def shown(self, status: int = 200) -> HttpResponse:
        given = self.given()
        try:
            if given is not None:
                self.plan = fork_plan.make(self.run, self.plan.at.seq, **given)
        except InputInvalid as error:
            self._tell(error.errors)
            given = None
        if given is None and self.request.method == "POST":  # what can be said is said without the changes
            self.is_stale = True
            with suppress(InputInvalid):
                self.plan = fork_plan.make(self.run, self.plan.at.seq, effects=self.modes())
        wants_part = bool(self.request.htmx) and self.is_preview  # type: ignore[attr-defined]
        template = "runs/fork.html#plan" if wants_part else "runs/fork.html"
        return render(self.request, template, self._context(), status=status)

    def _tell(self, errors: Mapping[str, str]) -> None:
        fields = {path.removeprefix("changes."): text for path, text in errors.items() if path.startswith("changes.")}
        known = {path: text for path, text in fields.items() if path.partition(".")[0] in self.form.fields}
        if known and self.form.is_bound and self.form.is_valid():
            self.form.add_errors(known)
        self.errors |= {path: text for path, text in errors.items() if path.removeprefix("changes.") not in known}
        self.errors |= known if self.is_preview else {}

    def _context(self) -> dict[str, Any]:
        plan, often = self.plan, usual.of(self.run.workflow)
        ahead = [(one, often.get(one.step.name), one.step.kind == "gate") for one in plan.ahead]
        posted, differences = self.request.POST, _differences(plan)
        return {
            "run": self.run,
            "plan": plan,
            "kept": list(dict.fromkeys(plan.kept)),
            "ahead": ahead,
            "seconds": sum(found.seconds for _, found, is_gate in ahead if found is not None and not is_gate),
            "cost": sum(found.cost_usd for _, found, _ in ahead if found is not None),
            "differences": differences[:SHOWN],
            "more": len(differences) - SHOWN,
            "form": self.form,
            "errors": {path: text for path, text in self.errors.items() if not path.startswith("effects.")},
            "stale": self.is_stale,
            "refused": self.request.method == "POST" and not self.is_preview,
            "left_out": self.left_out,
            "places": fork_plan.places(self.run, around=plan.at.seq),
            "versions": [one.version for one in registry.all_versions() if one.name == self.run.workflow],
            "typed": posted,
            "key": posted.get("key") or uuid.uuid4(),
            "prefix": MODE,
        }


def _differences(plan: fork_plan.Plan) -> list[showing.Shown]:
    """What is changed, without its plan: at most what a page shows."""
    if plan.change is None:
        return []
    kind = plan.workflow.state
    old, new = masking.masked(kind, plan.found.values), masking.masked(kind, plan.change.values)
    secret = {name for name in plan.change.delta.get("set", {}) if name in masking.secret_fields(kind)}
    found = [comparing.Difference((name,), "changed", masking.MASK, masking.MASK) for name in sorted(secret)]
    return showing.shown([*found, *comparing.of_states(old, new)])
