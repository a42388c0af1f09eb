"""Pages that start a run and control it."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from checkpoints import current, store
from engine.services import controls, starting
from runs.access import NotPermitted, require
from runs.models import Run
from runs.schema_form import SchemaForm, form_for
from runs.services.moves import MoveRefused
from runs.views import whole_number
from workflows import Workflow, codec, registry
from workflows import state as states
from workflows.errors import StateUnreadable


@login_required
def run_create(request: HttpRequest, name: str) -> HttpResponse:
    """A form from the workflow's schema, or JSON; 422 shows it again with what was typed."""
    try:
        require(request.user, "operate")
        workflow = registry.newest(name)
    except registry.WorkflowUnknown as error:
        raise Http404(str(error)) from None
    except NotPermitted as error:
        return render(request, "error.html", {"title": "Not permitted", "text": str(error)}, status=403)
    form = form_for(workflow.state.model_json_schema())(request.POST or None, request.FILES or None)
    if request.method != "POST":
        return _form_page(request, workflow, form)
    if request.POST.get("how") == "json":
        return _start_from_json(request, workflow, form)
    if not form.is_valid():
        return _form_page(request, workflow, form, status=422)
    return _start(request, workflow, form, form.values())


def _start_from_json(request: HttpRequest, workflow: Workflow[Any], form: SchemaForm) -> HttpResponse:
    text = request.POST.get("json", "")
    try:
        given = codec.loads(text)
    except ValueError as error:
        return _form_page(request, workflow, form_for(form.schema)(), status=422, json=text, json_error=str(error))
    return _start(request, workflow, form_for(form.schema)(), given, json=text)


def _start(request: HttpRequest, workflow: Workflow[Any], form: SchemaForm, given: Any, **typed: str) -> HttpResponse:
    key = request.POST.get("idempotency_key") or None
    try:
        run, _ = starting.start(workflow=workflow.name, input=given, by=request.user, idempotency_key=key)
    except starting.InputInvalid as error:
        errors = {path.removeprefix("input."): text for path, text in error.errors.items()}
        if "json" in typed:
            return _form_page(request, workflow, form, status=422, json_error=str(error), **typed)
        form.add_errors(errors)
        return _form_page(request, workflow, form, status=422)
    except starting.KeyTaken as error:
        return redirect("run-detail", run_id=error.run.pk)
    return redirect("run-detail", run_id=run.pk)


def _form_page(
    request: HttpRequest, workflow: Workflow[Any], form: SchemaForm, status: int = 200, json: str = "", json_error: str = ""
) -> HttpResponse:
    main = [field for field in form if field.field.required or field.help_text or field.errors]
    other = [field for field in form if field not in main]
    context = {
        "workflow": workflow,
        "form": form,
        "main": main,
        "other": other,
        "json": json or _example(form),
        "json_error": json_error,
        "key": request.POST.get("idempotency_key") or uuid.uuid4(),
    }
    return render(request, "runs/start.html", context, status=status)


def _example(form: SchemaForm) -> str:
    required = form.schema.get("required", ())
    return json.dumps(dict.fromkeys(required, "…"), indent=2, ensure_ascii=False)


@login_required
def change_create(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Retry, or release, with a changed state: a form of the state as it is; only what was changed is sent on."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    try:
        require(request.user, "operate")
        schema = registry.version(run.workflow, run.version).state
        values = states.shown_to_change(schema, current.at(run.pk, schema, run.seq).values)
    except NotPermitted as error:
        return render(request, "error.html", {"title": "Not permitted", "text": str(error)}, status=403)
    except (registry.WorkflowUnknown, store.HistoryBroken, StateUnreadable) as error:
        return render(request, "error.html", {"title": "Nothing to change", "text": str(error)}, status=409)
    if not (run.can_retry or run.can_release):
        return redirect("run-detail", run_id=run_id)
    form = form_for(states.schema_of(schema, values))(request.POST or None, request.FILES or None, initial=values)
    if request.method != "POST" or not form.is_valid():
        return _change_page(request, run, form, status=422 if request.method == "POST" else 200)
    service = controls.retry if run.can_retry else controls.release
    changes = changes_in(form, values)
    seq = seen(request)
    try:
        service(run_id, by=request.user, reason=request.POST.get("reason", ""), changes=changes, seq=seq)
    except starting.InputInvalid as error:
        form.add_errors({path.removeprefix("changes."): text for path, text in error.errors.items()})
        return _change_page(request, run, form, status=422)
    except MoveRefused as error:
        return _change_page(request, run, form, status=409, refused=str(error))
    return redirect("run-detail", run_id=run_id)


def changes_in(form: SchemaForm, values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the state. A field that was emptied is sent as empty text or null, for the schema to judge."""
    filled = form.values()
    changes = {name: value for name, value in filled.items() if value != values.get(name)}
    emptied = [name for name in form.changed_data if name in values and name not in filled]
    return changes | {name: "" if isinstance(values[name], str) else None for name in emptied if values[name] is not None}


def seen(request: HttpRequest) -> int | None:
    """The ``seq`` that the form was made for; one that is no number is older than any run."""
    text = request.POST.get("seq")
    if text is None:
        return None
    number = whole_number(text)
    return -1 if number is None else number


def _change_page(request: HttpRequest, run: Run, form: SchemaForm, *, status: int, refused: str = "") -> HttpResponse:
    context = {
        "run": run,
        "form": form,
        "verb": "Retry" if run.can_retry else "Release",
        "seq": request.POST.get("seq", run.seq),
        "reason": request.POST.get("reason", ""),
        "refused": refused,
    }
    return render(request, "runs/change.html", context, status=status)
