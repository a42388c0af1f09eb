"""How an author tells the engine what an error means, and how a definition is refused."""

import datetime as dt
from email.utils import parsedate_to_datetime
from typing import Protocol


class RegistrationError(Exception):
    """A definition cannot work. The text names the file, the step and the remedy."""


class StepGone(LookupError):
    """A run stands at a step that this version of its workflow does not have. The text names the remedy."""


class StateUnreadable(Exception):
    """A stored state cannot be used by this deployment. The text names the remedy."""


class MigrationMissing(StateUnreadable):
    """The state is of another schema version, and nothing leads from there to this one."""


class Transient(Exception):
    """Certainly did not happen; worth trying again, at the earliest after ``retry_after`` seconds."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Permanent(Exception):
    """Certainly did not happen, and will not when tried again: the run fails at once."""


class Ambiguous(Exception):
    """It may have happened: an effect is verified before it is tried again."""


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def headers(self) -> object: ...


def from_http(response: _Response | Exception) -> Exception | None:
    """The error that an HTTP response, or the exception raised instead of one, stands for; None for 2xx and 3xx.

    408, 429, and a 503 that says when to come back, mean that nothing was done (``Retry-After`` is honoured); other 4xx are
    permanent; other 5xx leave open whether the server acted, as a proxy's 503 does. Of exceptions, those that say that no
    connection was made are Transient; a timeout or a broken connection is Ambiguous, for the request may have arrived. Works
    with httpx, requests and urllib3.
    """
    if isinstance(response, Exception):
        kinds = {kind.__name__ for kind in type(response).__mro__}
        text = f"{type(response).__name__}: {response}"
        return Transient(text) if kinds & _NEVER_SENT else Ambiguous(text)
    code = response.status_code
    if code < 400:
        return None
    text = f"HTTP {code}: {response.text[:500]}"
    retry_after = _retry_after(response)
    if code in (408, 429) or (code == 503 and retry_after is not None):
        return Transient(text, retry_after=retry_after)
    return Permanent(text) if code < 500 else Ambiguous(text)


# By name, so that this package needs none of the libraries: httpx, requests and urllib3 in turn, then Python itself.
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "NewConnectionError", "ConnectionRefusedError", "gaierror"}


def _retry_after(response: _Response) -> float | None:
    """Seconds from ``Retry-After``, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    text = getattr(response.headers, "get", dict[str, str]().get)("retry-after")
    if not text:
        return None
    if str(text).isascii() and str(text).isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(str(text))
        return max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a zone
        return None
