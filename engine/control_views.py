"""What a person can do with a run: the controls on its page, its open gates, and a signal by hand."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html

from approvals import rights
from approvals.consequences import timeout_in_words
from engine import outlook, undo_plan
from engine.services import controls, signals, starting
from engine.views import seen
from runs.access import NotPermitted, may
from runs.models import Branch, Run
from runs.moves import BranchStatus
from runs.services.moves import MoveRefused
from workflows import codec, registry
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
    reason, seq = request.POST.get("reason", ""), seen(request)
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


@login_required
def note_create(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Write words into the run's journal: “erin is on it”."""
    run = get_object_or_404(Run.objects.visible_to(request.user), pk=run_id)
    if request.method != "POST":
        return redirect("run-detail", run_id=run_id)
    text = request.POST.get("text", "").strip() or f"{request.user.get_username()} is on it"
    return _do(request, run, lambda: controls.add_note(run_id, by=request.user, text=text))


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
    open_ones = run.gates.open().for_list()
    gates = [
        (gate, rights.standing(gate, request.user).why_not, timeout_in_words(gate.on_timeout))
        for gate in open_ones.order_by("opened_at", "ordinal")[:GATES]
    ]
    may_operate = may(request.user, "operate")
    waits = any(gate.visit == run.visit for gate, *_ in gates)
    steps = [] if run.is_final or run.rolls_back or run.requested or run.is_copy else _steps(run)
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
        "retry_text": outlook.of_retry(run) if run.can_retry else "",
        "release_text": outlook.of_release(run) if run.can_release else "",
        "cancel_text": outlook.of_cancel(run),
        "may_note": not run.is_copy,
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
    workflow = registry.known(run.workflow, run.version)
    return [step for step in workflow.all_steps.values() if step.is_effect] if workflow is not None else []


def _roll_back_in_words(run: Run, effects: list[Step]) -> str:
    happened = {step.name: undo_plan.count(run.pk, step) for step in effects}
    undone = [f"{happened[step.name]} × {step.name}" for step in effects if step.compensate and happened[step.name]]
    left = [f"{happened[step.name]} × {step.name}" for step in effects if not step.compensate and happened[step.name]]
    text = f"{', '.join(undone)} will be undone, the last one first." if undone else "Nothing that could be undone is done yet."
    text += f" Nobody can undo {', '.join(left)}: it stays as it is." if left else ""
    return f"{text} What may have happened is looked up first; where undoing fails, a person is asked. This ends the run."


def _steps(run: Run) -> list[str]:
    workflow = registry.known(run.workflow, run.version)
    return list(workflow.steps) if workflow is not None else []
