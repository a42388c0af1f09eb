"""The end of a step that hangs: an alarm raises in it; two seconds later a thread that needs no GIL ends the process."""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from django.conf import settings

KILL_AFTER = 2.0  # seconds after the alarm
SLACK = 1.0  # the killer is armed anew only when it would come too early, or more than this too late


class StepTimeout(BaseException):
    """Raised in a step at its timeout. No Exception, so that a broad ``except`` in the step does not swallow it."""


class ShutdownCut(BaseException):
    """Raised in a step that is still running when a stopping worker's grace is over."""


class _Killer:
    """``faulthandler.dump_traceback_later``, armed seldom, for it starts a thread every time."""

    def __init__(self) -> None:
        self.file: int | None = None  # a descriptor that stays open as long as the process
        self.due = 0.0

    def at_least(self, until: float) -> None:
        if until <= self.due <= until + 2 * SLACK:
            return
        if self.file is None:
            folder = Path(settings.HOLDFAST_DATA_DIR)
            folder.mkdir(parents=True, exist_ok=True)
            self.file = os.open(folder / "hung-steps.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.due = until + SLACK
        faulthandler.dump_traceback_later(self.due - time.monotonic(), exit=True, file=self.file)

    def disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.due = 0.0


_killer = _Killer()
_stopping = False
_in_step = False


def _alarm(number: int, frame: FrameType | None) -> None:
    if _in_step:
        raise ShutdownCut if _stopping else StepTimeout


def stop(number: int = 0, frame: FrameType | None = None) -> None:
    """SIGTERM: stop at the next boundary; a step that takes longer than the grace is cut short."""
    global _stopping
    _stopping = True
    if _in_step:
        signal.setitimer(signal.ITIMER_REAL, max(0.05, float(settings.HOLDFAST_GRACE)))


def hear_sigterm() -> None:
    """Billiard puts its own handler back after a child's initializers, so it is replaced when a task begins."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is not stop:
        signal.signal(signal.SIGTERM, stop)


def is_stopping() -> bool:
    return _stopping


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise StepTimeout in the block after ``seconds``. Outside a process's main thread it limits nothing."""
    global _in_step
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGALRM) is not _alarm:
        signal.signal(signal.SIGALRM, _alarm)
    if _stopping:
        seconds = min(seconds, max(0.05, float(settings.HOLDFAST_GRACE)))
    _killer.at_least(time.monotonic() + seconds + KILL_AFTER)
    _in_step = True
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        _in_step = False
        signal.setitimer(signal.ITIMER_REAL, 0)


def rest() -> None:
    """No step runs any more: nothing is to be killed."""
    _killer.disarm()
