"""Long polls: looking again and again without keeping a thread or a connection in between."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from pydantic import Field

STEP = 0.1  # seconds between two looks
LIMIT = 60  # seconds
Seconds = Annotated[float, Field(ge=0, le=LIMIT, description="Seconds to wait for a change")]
Result = TypeVar("Result")


async def look(question: Callable[[], Result]) -> Result:
    """Ask the database from a coroutine; the connection goes back to the web process's pool at once."""

    def ask() -> Result:
        try:
            return question()
        finally:
            if settings.HOLDFAST_ROLE == "web":
                connection.close()

    return await sync_to_async(ask)()


async def until(done: Callable[[], bool], seconds: float) -> None:
    """Return when ``done`` says so, or after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not await look(done):
        await asyncio.sleep(STEP)
