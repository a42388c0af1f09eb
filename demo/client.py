"""The sandbox service as the demo's workflows call it."""

import functools
import os
from typing import Any

import httpx

from workflows.errors import from_http

TIMEOUT = 5.0  # seconds


def call(method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
    """The JSON answer. A lost reply is Ambiguous, what was certainly not done is Transient or Permanent."""
    try:
        response = _client(os.getpid()).request(method, path, headers=headers, **options)
    except httpx.TransportError as error:
        raise from_http(error) or error from error
    if (problem := from_http(response)) is not None:
        raise problem
    return response.json()


@functools.cache
def _client(pid: int) -> httpx.Client:
    """One client a process: a forked worker must not share its parent's sockets."""
    return httpx.Client(base_url=os.environ.get("HOLDFAST_SANDBOX_URL", "http://127.0.0.1:8001"), timeout=TIMEOUT)
