"""Answers that are written while they are sent, however long they are."""

from collections.abc import AsyncIterator, Iterator
from itertools import islice

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

TOGETHER = 200  # pieces that are made in one go


def streamed(request: HttpRequest, pieces: Iterator[str], *, content_type: str, name: str) -> StreamingHttpResponse:
    """A download called ``name``. Under ASGI the pieces are made a few at a time, in the request's own thread."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = _in_goes(pieces) if isinstance(request, ASGIRequest) else pieces
    return StreamingHttpResponse(content, content_type=content_type, headers=headers)


async def _in_goes(pieces: Iterator[str]) -> AsyncIterator[str]:
    some = sync_to_async(lambda: "".join(islice(pieces, TOGETHER)))
    while text := await some():
        yield text
