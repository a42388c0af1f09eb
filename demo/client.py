"""The sandbox service as the demo's workflows call it."""

import os
from typing import Any

import httpx

from workflows import Ambiguous, Transient
from workflows.errors import from_http

TIMEOUT = 5.0  # seconds


def call(method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
    """The JSON answer. A lost reply is Ambiguous, what was certainly not done is Transient or Permanent."""
    url = os.environ.get("HOLDFAST_SANDBOX_URL", "http://127.0.0.1:8001")
    try:
        response = httpx.request(method, url + path, headers=headers, timeout=TIMEOUT, **options)
    except httpx.ConnectError as error:
        raise Transient(f"the sandbox cannot be reached: {error}") from error
    except httpx.TransportError as error:
        raise Ambiguous(f"no reply: {error}") from error
    if (problem := from_http(response)) is not None:
        raise problem
    return response.json()
