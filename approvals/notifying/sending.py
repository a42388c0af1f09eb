"""What every way of sending has in common: it returns, or says why it could not."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TypeVar

from django.db import connections

Answer = TypeVar("Answer")

TIMEOUT = 15.0  # seconds for each answer of a receiver
AT_MOST = 25.0  # seconds for one message in all: a receiver may answer byte by byte
LATE = f"no whole answer within {AT_MOST:.0f} s"


class NotTaken(Exception):
    """The message was not taken. ``status``: the HTTP status; ``retry_after``: seconds that were asked for; ``rest``: the
    receiver is overloaded, and is left in peace meanwhile; ``gone``: it wants no more, ever.
    """

    def __init__(
        self, why: str, *, status: int | None = None, retry_after: float | None = None, rest: bool = False, gone: bool = False
    ) -> None:
        self.status, self.retry_after, self.rest, self.gone = status, retry_after, rest, gone
        super().__init__(why[:2000])


def in_time(act: Callable[[], Answer]) -> Answer:
    """What ``act`` returns, within AT_MOST seconds. Raises NotTaken, and what ``act`` does.

    A worker's child does it in its main thread, which an alarm interrupts; where there is none, another thread is left behind.
    """
    if threading.current_thread() is threading.main_thread():
        return _until_the_alarm(act)
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(_in_own_thread, act).result(AT_MOST)
    except TimeoutError:
        raise NotTaken(LATE) from None
    finally:
        pool.shutdown(wait=False)


def _until_the_alarm(act: Callable[[], Answer]) -> Answer:
    def over(number: int, frame: FrameType | None) -> None:
        raise NotTaken(LATE)

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, AT_MOST, 1.0)  # again and again: a library may go on with its next receiver
    try:
        return act()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_own_thread(act: Callable[[], Answer]) -> Answer:
    try:
        return act()
    finally:
        connections.close_all()
