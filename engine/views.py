"""Pages that start a run and control it."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html

from checkpoints import store
from engine import undo_plan
from engine.services import controls, signals, starting
from runs.access import NotPermitted, may, require
from runs.models import Branch, Run
from runs.moves import BranchStatus
from runs.schema_form import SchemaForm, form_for
from runs.services.moves import MoveRefused
from runs.views import whole_number
from workflows import Workflow, codec, registry
from workflows import state as states
from workflows.errors import StepGone
from workflows.steps import Step

GATES = 20  # strips on a run's page; the inbox has all
CONTROLS = {
    "cancel": controls.cancel,
    "hold": controls.hold,
    "release": controls.release,
    "retry": controls.retry,
    "roll-back": controls.roll_back,
}
BREAKPOINTS = {"breakpoint": controls.set_breakpoint, "clear-breakpoint": controls.clear_breakpoint}


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
        values = states.shown_to_change(schema, store.load(run.pk, run.seq).values)
    except NotPermitted as error:
        return render(request, "error.html", {"title": "Not permitted", "text": str(error)}, status=403)
    except (registry.WorkflowUnknown, store.HistoryBroken) as error:
        return render(request, "error.html", {"title": "Nothing to change", "text": str(error)}, status=409)
    if not (run.can_retry or run.can_release):
        return redirect("run-detail", run_id=run_id)
    form = form_for(states.schema_of(schema, values))(request.POST or None, request.FILES or None, initial=values)
    if request.method != "POST" or not form.is_valid():
        return _change_page(request, run, form, status=422 if request.method == "POST" else 200)
    service = controls.retry if run.can_retry else controls.release
    changes = _changes(form, values)
    seq = _seen(request)
    try:
        service(run_id, by=request.user, reason=request.POST.get("reason", ""), changes=changes, seq=seq)
    except starting.InputInvalid as error:
        form.add_errors({path.removeprefix("changes."): text for path, text in error.errors.items()})
        return _change_page(request, run, form, status=422)
    except MoveRefused as error:
        return _change_page(request, run, form, status=409, refused=str(error))
    return redirect("run-detail", run_id=run_id)


def _changes(form: SchemaForm, values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the state. A field that was emptied is sent as empty text or null, for the schema to judge."""
    filled = form.values()
    changes = {name: value for name, value in filled.items() if value != values.get(name)}
    emptied = [name for name in form.changed_data if name in values and name not in filled]
    return changes | {name: "" if isinstance(values[name], str) else None for name in emptied if values[name] is not None}


def _seen(request: HttpRequest) -> int | None:
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


@login_required
def control_list(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """What this person can do with the run now; the run page fetches it again when the status changes."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    return _controls_page(request, run)


@login_required
def control_create(request: HttpRequest, run_id: uuid.UUID, control: str) -> HttpResponse:
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    if control not in {**CONTROLS, **BREAKPOINTS}:
        raise Http404
    if request.method != "POST":  # after signing in again; nothing was done
        return redirect("run-detail", run_id=run_id)
    if control in BREAKPOINTS:
        return _do(request, run, lambda: BREAKPOINTS[control](run_id, by=request.user, step=request.POST.get("step", "")))
    reason, seq = request.POST.get("reason", ""), _seen(request)
    return _do(request, run, lambda: CONTROLS[control](run_id, by=request.user, reason=reason, seq=seq))


@login_required
def signal_create(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Send a run the signal that it waits for, by hand."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    if request.method != "POST":
        return redirect("run-detail", run_id=run_id)
    text = request.POST.get("payload", "").strip()
    try:
        payload = codec.loads(text) if text else None
    except ValueError as error:
        return _not_sent(request, run, f"Nothing was sent, for the payload is no JSON: {error}")
    name = request.POST.get("name", "")
    return _do(request, run, lambda: signals.send(run_id, by=request.user, name=name, payload=payload))


def _not_sent(request: HttpRequest, run: Run, text: str) -> HttpResponse:
    """Said in the dialog, which stays open with what was typed."""
    if not request.htmx:  # type: ignore[attr-defined]
        return _controls_page(request, run, text, 422)
    answer = HttpResponse(format_html('<p class="field-error" role="alert">{}</p>', text), status=422)
    answer["HX-Retarget"], answer["HX-Reswap"] = "#signal-error", "innerHTML"
    return answer


def _do(request: HttpRequest, run: Run, act: Callable[[], object]) -> HttpResponse:
    """Call one service, and show what can be done now; or why nothing was done."""
    status, refused = 200, ""
    try:
        act()
    except (MoveRefused, starting.InputInvalid, registry.WorkflowUnknown, StepGone) as error:
        status, refused = 409, str(error)
    except NotPermitted as error:
        status, refused = 403, str(error)
    run = Run.objects.get(pk=run.pk)
    if not request.htmx and not refused:  # type: ignore[attr-defined]
        return redirect("run-detail", run_id=run.pk)
    return _controls_page(request, run, refused, status)


def _controls_page(request: HttpRequest, run: Run, refused: str = "", status: int = 200) -> HttpResponse:
    template = "runs/controls.html#controls" if request.htmx else "runs/controls.html"  # type: ignore[attr-defined]
    return render(request, template, {**_controls(request, run), "refused": refused}, status=status)


def _controls(request: HttpRequest, run: Run) -> dict[str, Any]:
    gates = [
        (gate, gate.why_not(request.user))
        for gate in run.gates.open().select_related("run", "branch").order_by("opened_at", "ordinal")[:GATES]
    ]
    may_operate = may(request.user, "operate")
    waits = any(gate.visit == run.visit for gate, _ in gates)
    steps = [] if run.is_final or run.rolls_back or run.requested else _steps(run)
    effects = _effects(run)
    return {
        "run": run,
        "gates": gates,
        "may_operate": may_operate,
        "may_administer": may(request.user, "administer"),
        "changeable": run.fan_out_id is None
        and not run.rolls_back
        and (run.can_retry or (run.can_release and not run.requested and not waits)),
        "signal_names": _signal_names(run),
        "has_effects": bool(effects),
        "roll_back_text": _roll_back_in_words(run, effects),
        "retry_text": _retry_in_words(run),
        "steps": steps,
        "next_step": _following(run, steps),
    }


def _following(run: Run, names: list[str]) -> str:
    """The step after the one where the run stands, which is where a breakpoint is likeliest wanted."""
    index = names.index(run.step) + 1 if run.step in names else 0
    return names[index] if index < len(names) else ""


def _signal_names(run: Run) -> list[str]:
    """The signals that the run or its branches wait for."""
    own = [run.signal_name] if run.signal_name else []
    if run.fan_out_id is None or run.is_final:
        return own if not run.is_final else []
    waiting = Branch.objects.filter(fan_out=run.fan_out_id, status=BranchStatus.QUEUED, pause__kind="signal")
    return list(dict.fromkeys(waiting.order_by("index").values_list("pause__name", flat=True)[:50]))


def _effects(run: Run) -> list[Step]:
    """The effects that its workflow has, in order."""
    try:
        workflow = registry.version(run.workflow, run.version)
    except registry.WorkflowUnknown:
        return []
    return [step for step in (*workflow.steps.values(), *workflow.branches.values()) if step.is_effect]


def _roll_back_in_words(run: Run, effects: list[Step]) -> str:
    happened = {step.name: undo_plan.count(run.pk, step) for step in effects}
    undone = [f"{happened[step.name]} × {step.name}" for step in effects if step.compensate and happened[step.name]]
    left = [f"{happened[step.name]} × {step.name}" for step in effects if not step.compensate and happened[step.name]]
    text = f"{', '.join(undone)} will be undone, the last one first." if undone else "Nothing that could be undone is done yet."
    text += f" Nobody can undo {', '.join(left)}: it stays as it is." if left else ""
    return f"{text} What may have happened is looked up first; where undoing fails, a person is asked. This ends the run."


def _retry_in_words(run: Run) -> str:
    if run.parts is None:
        return (
            "Finished steps are kept. The failed step runs again with the same idempotency key; if it may have acted, that is "
            "looked up, or asked of a person, first."
        )
    parts = run.parts
    return (
        f"{parts['failed']} failed branch{'' if parts['failed'] == 1 else 'es'} tried again, with the same idempotency key; "
        f"{parts['queued'] + parts['waiting']} that had not ended go on; {parts['succeeded']} finished stay as they are. What "
        "may have acted is looked up, or asked of a person, first."
    )


def _steps(run: Run) -> list[str]:
    try:
        return list(registry.version(run.workflow, run.version).steps)
    except registry.WorkflowUnknown:
        return []
