"""One API, one map of errors."""

import hashlib
import logging
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer
from ninja.security.apikey import APIKeyCookie

import approvals.api
import approvals.people_api
import checkpoints.api
import engine.api
import engine.fork_api
import runs.api
import runs.audit_api
from approvals import refusals
from approvals.services import policies
from checkpoints import key_history, revealing, store
from engine.services import starting, workflow_holds
from holdfast import VERSION, batch_api
from holdfast.models import ApiToken, Scope
from holdfast.problems import problem
from runs import access, doors, filters, pages, reading
from runs.invalid import FieldsInvalid
from runs.services.moves import MoveRefused
from workflows import codec, registry
from workflows.errors import StateUnreadable, StepGone

log = logging.getLogger("holdfast.api")


class Token(HttpBearer):
    """``Authorization: Bearer hf_…``"""

    def authenticate(self, request: HttpRequest, token: str) -> Any | None:
        found = ApiToken.find(token)
        if found is None:
            return None
        request.user = found.user
        doors.came(found.user, doors.API, doors.address_of(request))
        if not found.allows(request):
            raise access.NotPermitted(f"This token's scope is “{Scope(found.scope).label}”.")
        return found.user


class Session(APIKeyCookie):
    """The browser's session; writes need the CSRF token."""

    param_name = settings.SESSION_COOKIE_NAME

    def _get_key(self, request: HttpRequest) -> str | None:
        return super()._get_key(request) if self.param_name in request.COOKIES else None

    def authenticate(self, request: HttpRequest, key: str | None) -> Any | None:
        return request.user if request.user.is_authenticated else None


class WrongContentType(Exception):
    """The body is not declared as JSON."""


class StrictJson(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != "application/json":
            raise WrongContentType
        body = codec.loads(request.body)
        codec.dumps(body)  # what PostgreSQL cannot hold is refused at the door
        return body


api = NinjaAPI(
    title="Holdfast",
    version=VERSION,
    urls_namespace="api",
    auth=[Token(), Session()],
    parser=StrictJson(),
    description="Durable agent runs, their journals and their approval gates. Errors are RFC 9457 problem documents.",
)
for router in (
    runs.api.router,
    runs.audit_api.router,
    engine.api.router,
    engine.fork_api.router,
    checkpoints.api.router,
    approvals.api.router,
    approvals.people_api.router,
):
    api.add_router("", router)
batch_api.add_to(api)


class Me(Schema):
    username: str
    roles: list[str]
    groups: list[str]


@api.get("/me", response=Me, operation_id="get_me", tags=["people"])
def get_me(request: HttpRequest) -> dict[str, Any]:
    """Who you are here."""
    groups = sorted(access.group_names(request.user) - set(access.ROLES))
    return {"username": request.user.get_username(), "roles": sorted(access.roles(request.user)), "groups": groups}


def _map(error: type[Exception], status: int, kind: str, title: str) -> None:
    def handle(request: HttpRequest, raised: Any) -> HttpResponse:
        more: dict[str, Any] = {}
        if status == 503:
            log.error("%s %s: %s", request.method, request.path, raised)
            return problem(status, kind, title, "Nothing was changed that was not acknowledged. Try again in a moment.")
        if isinstance(raised, refusals.Refused):
            more["gate"] = approvals.api.shown(raised.gate.pk)
        if isinstance(raised, (MoveRefused, starting.KeyTaken)):
            more["run"] = reading.run_as_json(raised.run)
        if isinstance(raised, store.HistoryBroken):
            more |= {"run_id": str(raised.run_id), "seq": raised.seq}
        if isinstance(raised, FieldsInvalid):
            more["errors"] = raised.errors
        return problem(status, kind, title, str(raised), **more)

    api.exception_handler(error)(handle)


_map(refusals.GateClosed, 409, "gate-closed", "The gate is closed")
_map(refusals.GateChanged, 409, "gate-changed", "The proposal has changed")
_map(refusals.AlreadyVoted, 409, "already-voted", "You have voted")
_map(refusals.AlreadyClaimed, 409, "already-claimed", "Somebody is on it")
_map(refusals.TooLate, 409, "too-late", "It cannot be taken back")
_map(refusals.NotYours, 403, "not-yours", "Not your decision")
_map(refusals.NotConfirmed, 403, "not-confirmed", "Your password is wanted")
_map(policies.PolicyInvalid, 422, "invalid-policy", "The policy is refused")
_map(refusals.InvalidDecision, 422, "invalid-decision", "The decision is refused")
_map(starting.InputInvalid, 422, "invalid-state", "The input is refused")
_map(starting.KeyTaken, 409, "key-taken", "The key belongs to another input")
_map(MoveRefused, 409, "wrong-status", "The run's status does not allow this")
_map(workflow_holds.HoldRefused, 409, "wrong-status", "The workflow's hold does not allow this")
_map(access.NotPermitted, 403, "not-permitted", "Not permitted")
_map(PermissionDenied, 403, "not-permitted", "Not permitted")
_map(registry.WorkflowUnknown, 404, "unknown-workflow", "No such workflow")
_map(StepGone, 409, "step-gone", "The run's step is gone")
_map(store.CheckpointMissing, 404, "not-found", "Not found")
_map(store.StatePruned, 410, "pruned", "Pruned")
_map(StateUnreadable, 409, "state-unreadable", "The state cannot be used by this deployment")
_map(key_history.KeyInvalid, 422, "invalid-request", "The request is refused")
_map(revealing.NotSecret, 422, "invalid-request", "The request is refused")
_map(store.HistoryBroken, 409, "history-broken", "The history is broken")
_map(pages.CursorInvalid, 400, "invalid-cursor", "The cursor is not one of ours")
_map(OperationalError, 503, "unavailable", "The database cannot be reached")
_map(psycopg.OperationalError, 503, "unavailable", "The database cannot be reached")
_map(AuthenticationError, 401, "not-signed-in", "Not signed in")


@api.exception_handler(Http404)
def not_found(request: HttpRequest, raised: Http404) -> HttpResponse:
    return problem(404, "not-found", "Not found", "There is nothing here, or you may not see it.")


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, raised: ValidationError) -> HttpResponse:
    errors = {_path(item["loc"]): item["msg"] for item in raised.errors}
    detail = "; ".join(f"{name}: {text}" for name, text in errors.items())
    return problem(422, "invalid-request", "The request is refused", detail, errors=errors)


@api.exception_handler(filters.FilterInvalid)
def bad_filter(request: HttpRequest, raised: filters.FilterInvalid) -> HttpResponse:
    return problem(422, "invalid-request", "The request is refused", str(raised))


@api.exception_handler(HttpError)
def http_error(request: HttpRequest, raised: HttpError) -> HttpResponse:
    if isinstance(raised.__cause__, WrongContentType):
        return problem(415, "wrong-content-type", "JSON was expected", "Send Content-Type: application/json.")
    if raised.status_code == 400 and raised.__cause__ is not None:
        text = f"The body is not the JSON that was expected: {raised.__cause__}"
        return problem(400, "malformed-json", "Malformed JSON", text)
    kinds = {401: "not-signed-in", 403: "not-permitted"}
    return problem(raised.status_code, kinds.get(raised.status_code, "error"), str(raised))


def _path(location: Any) -> str:
    """``("body", "body", "verdict")`` → ``verdict``: the field as the client wrote it."""
    parts = [str(part) for part in location]
    while parts and parts[0] in ("body", "query", "path", "payload"):
        parts.pop(0)
    return ".".join(parts) or "body"


def body_hash(request: HttpRequest) -> str:
    """What makes two requests with one Idempotency-Key the same."""
    return hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode() + request.body).hexdigest()
