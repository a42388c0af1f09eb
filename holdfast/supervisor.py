"""Children of ``manage.py up``: started in sessions of their own, their lines prefixed, restarted when they die.

A ready-made supervisor was looked for: circus and supervisord do not stop in the order that runs need (docs/dependencies.md).
"""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

PR_SET_PDEATHSIG = 1
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a restart; doubled while a child dies young
YOUNG = 10.0  # seconds


@dataclass
class Child:
    """One supervised process. ``grace``: seconds between the stop signal and SIGKILL to its whole session."""

    name: str
    command: list[str]
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 1.0
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, env={**os.environ, **self.env}, preexec_fn=self._die_with_parent, **self.options,
        )  # fmt: skip
        self.started = time.monotonic()

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except (ProcessLookupError, PermissionError):
                if self.lives:
                    self.process.send_signal(number)

    def _die_with_parent(self) -> None:
        """Should the supervisor itself be killed, nothing of it stays behind."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(self.stop_signal))


class Supervisor:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
        self.children: list[Child] = []
        self.selector = selectors.DefaultSelector()
        self.rest: dict[int, bytes] = {}
        self.stopping = False

    def handle_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_soon)

    def start(self, child: Child) -> Child:
        self.children.append(child)
        self._launch(child)
        return child

    def until(self, ready: Callable[[], bool], *, seconds: float, child: Child) -> bool:
        """Relay output until ``ready``; False when ``child`` dies, the time is over, or a stop is asked for."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stopping:
            if ready():
                return True
            if not child.lives:
                self.relay(0.05)
                return False
            self.relay(0.05)
        return False

    def run(self) -> None:
        """Supervise until a signal says stop."""
        while not self.stopping:
            self.relay(0.2)
            for child in self.children:
                self._revive(child)

    def stop_all(self, order: list[list[Child]]) -> None:
        """Stop group after group: ask each group, wait for its grace, then kill what is left of its sessions."""
        self.stopping = True
        for group in order:
            for child in group:
                if child.lives:
                    child.signal(child.stop_signal)
            end = time.monotonic() + max((child.grace for child in group), default=0.0)
            while any(child.lives for child in group) and time.monotonic() < end:
                self.relay(0.02)
            for child in group:
                child.signal(signal.SIGKILL)
                if child.process is not None:
                    child.process.wait()
        self.relay(0.0)

    def relay(self, seconds: float) -> None:
        """Write what the children say, line by line, each with its name."""
        for key, _ in self.selector.select(seconds):
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
            data = os.read(stream.fileno(), 65536)
            if not data:
                self.selector.unregister(stream)
                stream.close()
                continue
            *lines, self.rest[key.fd] = (self.rest.get(key.fd, b"") + data).split(b"\n")
            for line in lines:
                self.write(f"{key.data:<9}│ {line.decode(errors='replace')}")

    def _launch(self, child: Child) -> None:
        child.start()
        assert child.process is not None and child.process.stdout is not None
        self.rest.pop(child.process.stdout.fileno(), None)
        self.selector.register(child.process.stdout, selectors.EVENT_READ, child.name)

    def _revive(self, child: Child) -> None:
        if child.lives or self.stopping:
            return
        now = time.monotonic()
        if child.due == 0.0:
            assert child.process is not None
            child.signal(signal.SIGKILL)  # what is left of its session
            child.pause = min(LONGEST_PAUSE, child.pause * 2) if now - child.started < YOUNG else FIRST_PAUSE
            child.due = now + child.pause
            code = child.process.returncode
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
            self.write(f"{child.name:<9}│ ended with {how}; starting it again in {child.pause:.1f} s")
        elif now >= child.due:
            child.due = 0.0
            self._launch(child)

    def _stop_soon(self, *_: object) -> None:
        self.stopping = True


def python(*words: str) -> list[str]:
    return [sys.executable, *words]
