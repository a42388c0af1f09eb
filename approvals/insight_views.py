"""The page of what approvals cost and bring."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from approvals import insight
from runs.views import whole_number

SPANS = (7, 30, 90)  # days


@login_required
def insight_detail(request: HttpRequest) -> HttpResponse:
    days = whole_number(request.GET.get("days", "")) or 30
    days = days if days in SPANS else 30
    return render(request, "insight.html", {"found": insight.of(request.user, days), "days": days, "spans": SPANS})
