"""What stands before the application: the size limit of a body, and who opens a socket."""

import json
from typing import Any
from urllib.parse import urlparse

from channels.db import database_sync_to_async
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from holdfast.models import ApiToken
from holdfast.problems import CONTENT_TYPE

DRAIN = 64 * 1024 * 1024  # bytes


class TooLarge(Exception):
    """The body is larger than HOLDFAST_MAX_BODY."""


def limit_body(application: Any) -> Any:
    """413 as soon as a body is known to be too large: by its header, or while it is read."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        limit, read, begun = settings.HOLDFAST_MAX_BODY, 0, False

        async def counted() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise TooLarge
            return message

        async def noted(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > limit:
                raise TooLarge
            await application(scope, counted, noted)
        except TooLarge:
            if not begun:
                await _refuse(send, limit)
                await _drain(receive)

    return limited


async def _refuse(send: Any, limit: int) -> None:
    detail = f"The body may be at most {limit} bytes (HOLDFAST_MAX_BODY)."
    body = {"type": "body-too-large", "title": "The body is too large", "status": 413, "detail": detail}
    headers = [(b"content-type", CONTENT_TYPE.encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _drain(receive: Any) -> None:
    """Read on for a while: a client that is still sending would see its connection reset, and not the answer."""
    read = 0
    while read < DRAIN:
        message = await receive()
        read += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def token_or_session(application: Any) -> Any:
    """A token speaks for itself. A session is believed only from a page of ours: browsers send it from anywhere."""
    validator = OriginValidator(None, [])

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        scheme, _, token = headers.get(b"authorization", b"").decode("latin1").partition(" ")
        if scheme.lower() == "bearer":
            user = await database_sync_to_async(ApiToken.owner)(token.strip())
            scope = {**scope, "user": user or AnonymousUser(), "origin_allowed": True}
        else:
            validator.allowed_origins = [*settings.ALLOWED_HOSTS, *settings.CSRF_TRUSTED_ORIGINS]
            origin = headers.get(b"origin", b"").decode("latin1")
            same = urlparse(origin).netloc == headers.get(b"host", b"").decode("latin1")
            allowed = bool(origin) and same and validator.valid_origin(urlparse(origin))
            allowed = allowed or origin in settings.CSRF_TRUSTED_ORIGINS
            scope = {**scope, "origin_allowed": allowed or not scope["user"].is_authenticated}
        await application(scope, receive, send)

    return checked
