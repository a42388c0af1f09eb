"""Pages that belong to no noun: health, errors, the design page."""

import json
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.html import format_html
from prometheus_client import CONTENT_TYPE_LATEST

from engine import health, metrics
from runs.moves import Status
from runs.notices import into_notices

TOKENS = ("paper", "surface", "sunken", "line", "line-strong", "ink", "ink-quiet", "link", "act", "good", "bad", "move")


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"ok": True})


def readyz(request: HttpRequest) -> HttpResponse:
    """200 when runs can go on, 503 with what is wrong otherwise."""
    ready, checks = health.readiness()
    response = JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)
    response._has_been_logged = True  # type: ignore[attr-defined] # whoever asks is answered; the log is for the unexpected
    return response


def metrics_list(request: HttpRequest) -> HttpResponse:
    """Numbers for Prometheus; they name workflows and steps, and nothing of any run."""
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = "Your session has changed since this page was opened. Go back, reload, and send it again; nothing was done."
    if request.headers.get("HX-Request"):
        return into_notices(render(request, "gates/_signed_out.html", status=403))
    return render(request, "error.html", {"title": "Not sent", "text": text}, status=403)


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    text = "There is nothing at this address, or you may not see it."
    return render(request, "error.html", {"title": "Not found", "text": text}, status=404)


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    text = str(exception) or "You may not do this."
    return render(request, "error.html", {"title": "Not permitted", "text": text}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        body = {"type": "error", "title": "Something went wrong here", "status": 500, "detail": "It has been logged."}
        return HttpResponse(json.dumps(body), status=500, content_type="application/problem+json")
    text = "It has been logged."
    if request.headers.get("HX-Request"):  # a part of a page: not a page inside the page
        notice = '<p class="notice" data-kind="bad" role="alert">Something went wrong here. {}</p>'
        return HttpResponse(format_html(notice, text), status=500)
    return render(request, "error.html", {"title": "Something went wrong here", "text": text}, status=500)


@login_required
def design(request: HttpRequest) -> HttpResponse:
    """The living page of the visual language, for staff."""
    if not request.user.is_staff:
        raise PermissionDenied("This page is for staff.")
    return render(request, "design.html", {"statuses": list(Status), "tokens": TOKENS})
