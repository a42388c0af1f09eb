"""A decision's receipt, for whoever may see its gate."""

import json
import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from approvals import receipts
from approvals.models import Decision
from approvals.views import visible


@login_required
def receipt_detail(request: HttpRequest, gate_id: uuid.UUID, decision_id: int) -> HttpResponse:
    gate = visible(request, gate_id)
    decision = get_object_or_404(Decision.objects.select_related("gate__run", "holder"), pk=decision_id, gate=gate)
    text = json.dumps(receipts.of(decision), indent=1, ensure_ascii=False)
    name = f'attachment; filename="receipt-{gate.short_id}-{decision.pk}.json"'
    return HttpResponse(text, content_type="application/json", headers={"Content-Disposition": name})
