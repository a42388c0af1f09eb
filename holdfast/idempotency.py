"""``Idempotency-Key``: a POST that is sent again gets the stored answer, and nothing happens twice."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from holdfast.api import body_hash
from holdfast.models import ApiToken, StoredAnswer
from holdfast.problems import CONTENT_TYPE, problem
from runs.clock import Now

ABANDONED = timedelta(seconds=60)  # after which a first request that left no answer counts as never made
KEY_LIMIT = 200


def api_answers(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware for /api/: stored answers, and problem documents where Django would send HTML or plain text."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/api/"):
            return get_response(request)
        key = request.headers.get("Idempotency-Key")
        user = _user(request) if request.method == "POST" and key is not None else None
        if user is None or key is None:
            return _as_problem(request, get_response(request))
        if not 1 <= len(key) <= KEY_LIMIT or "\0" in key:
            return problem(422, "invalid-request", "The request is refused", "Idempotency-Key: 1 to 200 characters")
        return _answered_once(request, user, key, lambda: _as_problem(request, get_response(request)))

    return middleware


def _answered_once(request: HttpRequest, user: Any, key: str, answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    wanted = body_hash(request)
    StoredAnswer.objects.filter(user=user, key=key, status=None, created_at__lt=Now() - ABANDONED).delete()
    try:
        with transaction.atomic():
            row = StoredAnswer.objects.create(user=user, key=key, body_hash=wanted)
    except IntegrityError:
        return _known(StoredAnswer.objects.filter(user=user, key=key).first(), wanted)
    response: Any = answer()
    if (
        response.status_code >= 500
        or response.status_code in (401, 403, 429)
        or "no-store" in response.get("Cache-Control", "")
    ):
        row.delete()
    else:
        row.status, row.content = response.status_code, response.content.decode()
        row.content_type = response.headers.get("Content-Type", "")
        row.save(update_fields=["status", "content", "content_type"])
    return response  # type: ignore[no-any-return]


def _known(row: StoredAnswer | None, wanted: str) -> HttpResponse:
    if row is None or row.status is None:
        text = "The first request with this Idempotency-Key is still at work. Try again in a moment."
        return problem(409, "in-progress", "Still at work", text)
    if row.body_hash != wanted:
        text = "This Idempotency-Key was used for another request."
        return problem(422, "idempotency-key-reused", "The key was used for another request", text)
    return HttpResponse(row.content, status=row.status, content_type=row.content_type)


def _user(request: HttpRequest) -> Any | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found = ApiToken.find(token.strip())
        return found.user if found is not None and found.allows(request) else None  # the API says what is wrong with it
    return request.user if request.user.is_authenticated else None


def _as_problem(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    kind = response.headers.get("Content-Type", "")
    if response.status_code < 400 or kind.startswith((CONTENT_TYPE, "application/json")):
        return response
    titles = {404: ("not-found", "Not found"), 405: ("method-not-allowed", "Method not allowed")}
    name, title = titles.get(response.status_code, ("error", "Error"))
    answer = problem(response.status_code, name, title)
    if "Allow" in response.headers:
        answer.headers["Allow"] = response.headers["Allow"]
    return answer
