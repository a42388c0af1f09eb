"""What every way of sending has in common: it returns, or says why it could not."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TIMEOUT = 15.0  # seconds for each answer of a receiver
AT_MOST = 25  # seconds for one message in all: a receiver may answer byte by byte


class NotTaken(Exception):
    """The message was not taken. ``status``: the HTTP status; ``retry_after``: seconds that were asked for; ``rest``: the
    receiver is overloaded, and is left in peace meanwhile; ``gone``: it wants no more, ever.
    """

    def __init__(
        self, why: str, *, status: int | None = None, retry_after: float | None = None, rest: bool = False, gone: bool = False
    ) -> None:
        self.status, self.retry_after, self.rest, self.gone = status, retry_after, rest, gone
        super().__init__(why[:2000])


@contextmanager
def in_time() -> Iterator[None]:
    """Raises NotTaken after AT_MOST seconds. Only a process's main thread can be interrupted, as a worker's child is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise NotTaken(f"no whole answer within {AT_MOST} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(AT_MOST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
