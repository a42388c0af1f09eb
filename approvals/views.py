"""The inbox, and one gate."""

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from approvals import rights
from approvals.consequences import consequences
from approvals.models import Gate, GateKind, GateStatus, Verdict
from approvals.refusals import InvalidDecision, NotYours, Refused
from approvals.services.deciding import closed_in_words, decide
from approvals.services.tallying import tally
from checkpoints import current, store
from runs.schema_form import SchemaForm, form_for
from runs.views import whole_number
from workflows import masking, registry
from workflows import state as states
from workflows.errors import StateUnreadable, StepGone

TABS = {"mine": "Mine", "open": "All open", "history": "History"}
PAGE = 100


@login_required
def gate_list(request: HttpRequest) -> HttpResponse:
    tab = request.GET.get("tab", "mine")
    tab = tab if tab in TABS else "mine"
    gates = Gate.objects.visible_to(request.user).for_list()
    if tab == "mine":
        gates = gates.decidable_by(request.user)
    elif tab == "open":
        gates = gates.open()
    else:
        gates = gates.exclude(status=GateStatus.OPEN).order_by("-final_at")
    template = "gates/list.html#gates" if request.htmx else "gates/list.html"  # type: ignore[attr-defined]
    return render(request, template, {"gates": gates[:PAGE], "tab": tab, "tabs": TABS})


@login_required
def gate_detail(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    gate = get_object_or_404(Gate.objects.visible_to(request.user).select_related("run"), pk=gate_id)
    return _page(request, gate)


@login_required
def decision_create(request: HttpRequest, gate_id: uuid.UUID) -> HttpResponse:
    """Decide. A lost race shows the gate as it now is, with 409; what was typed stays."""
    gate = get_object_or_404(Gate.objects.visible_to(request.user).select_related("run"), pk=gate_id)
    if request.method != "POST":  # after signing in again; nothing was decided
        return redirect("gate-detail", gate_id=gate_id)
    verdict, args = request.POST.get("verdict", ""), None
    form = _form(gate, request.POST if verdict in (Verdict.EDIT, Verdict.HAPPENED) else None)
    if verdict in (Verdict.EDIT, Verdict.HAPPENED):
        if form is not None and not form.is_valid():
            return _page(request, gate, form=form, status=422, typed=request.POST)
        args = {} if form is None else form.values()
    try:
        decide(
            gate_id,
            by=request.user,
            verdict=verdict,
            args=args,
            comment=request.POST.get("comment", ""),
            version=whole_number(request.POST.get("version", "")),
            proposal_hash=request.POST.get("proposal_hash"),
            channel="page",
        )
    except InvalidDecision as error:
        return _page(request, gate, form=form, status=422, refused=str(error), typed=request.POST)
    except (StepGone, registry.WorkflowUnknown, store.HistoryBroken, StateUnreadable) as error:
        return _page(request, gate, form=form, status=409, refused=str(error), typed=request.POST)
    except NotYours as error:
        return _page(request, gate, status=403, refused=str(error), typed=request.POST)
    except Refused as error:
        gate = Gate.objects.select_related("run").get(pk=gate_id)
        return _page(request, gate, status=409, refused=str(error), typed=request.POST)
    return redirect("gate-detail", gate_id=gate_id)


def _page(
    request: HttpRequest, gate: Gate, *, form: SchemaForm | None = None, status: int = 200, refused: str = "",
    typed: Any = None,
) -> HttpResponse:  # fmt: skip
    schema = registry.schema(gate.run.workflow, gate.run.version)
    mine = Gate.objects.decidable_by(request.user)
    decidable = gate.is_open and mine.filter(pk=gate.pk).exists()
    context = {
        "gate": gate,
        "run": gate.run,
        "form": form or _form(gate, None),
        "shown": masking.masked(schema, gate.context),
        "branch": gate.branch,
        "decisions": gate.decisions.all(),
        "votes": tally(gate),
        "decidable": decidable,
        "why_not": "" if decidable or not gate.is_open else rights.standing(gate, request.user).why_not,
        "closed": "" if gate.is_open else closed_in_words(gate),
        "consequences": consequences(gate),
        "refused": refused,
        "typed": typed or {},
        "next_gate": mine.exclude(pk=gate.pk).for_list().first(),
    }
    return render(request, "gates/detail.html", context, status=status)


def _form(gate: Gate, data: Any) -> SchemaForm | None:
    """What a decider may fill in: the action's arguments, or what an effect that happened has returned."""
    if gate.kind == GateKind.OUTCOME:
        return _result_form(gate, data)
    if gate.action is None or "edit" not in gate.verdicts or not gate.action["schema"].get("properties"):
        return None
    return form_for(gate.action["schema"])(data, initial=gate.action["args"])


def _result_form(gate: Gate, data: Any) -> SchemaForm | None:
    """The state's fields that nothing has set yet, all optional: among them is what the effect would have returned."""
    kind = registry.schema(gate.run.workflow, gate.run.version)
    if kind is None:
        return None
    try:
        seq = gate.branch.fan_out.seq if gate.branch else gate.run.seq
        unset = states.unset(kind, current.at(gate.run_id, kind, seq).values)
    except (store.HistoryBroken, StateUnreadable, states.StateInvalid):
        return None
    return form_for(states.schema_of(kind, unset))(data) if unset else None
