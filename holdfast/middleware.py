"""What every response has in common, and what every request of a page of ours says."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from runs import doors
from runs.notices import into_notices

POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
Handler = Callable[[HttpRequest], HttpResponseBase]


def content_security_policy(get_response: Handler) -> Handler:
    """Nothing is loaded from elsewhere, whatever an agent wrote."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not request.path.startswith("/api/docs"):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        patch_vary_headers(response, ["HX-Request", "HX-Target"])  # one address may answer with a page, or with a part of it
        return response

    return middleware


def door(get_response: Handler) -> Handler:
    """Whoever acts is marked with the door that they came through; ``REMOTE_ADDR`` is what uvicorn has from a trusted proxy."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:
            channel = doors.API if request.path.startswith("/api/") else doors.PAGE
            doors.came(request.user, channel, doors.address_of(request))
        return get_response(request)

    return middleware


def same_person(get_response: Handler) -> Handler:
    """A page that one person has left open does nothing in the name of another who has signed in in the same browser since."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        opened_by = request.headers.get("X-Opened-By", "")
        if opened_by and request.user.is_authenticated and opened_by != request.user.get_username():
            return into_notices(render(request, "_other_person.html", {"opened_by": opened_by}, status=409))
        return get_response(request)

    return middleware
