"""How often a step is tried, and how long it waits in between."""

import random
from dataclasses import dataclass

from workflows.durations import Duration, seconds


@dataclass(frozen=True)
class Retry:
    """``attempts`` tries; before try n+1 a wait of up to ``backoff · 2^(n-1)`` seconds, at most ``cap``.

    Full jitter: the wait is drawn evenly from zero to that bound (M. Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015). ``on`` is what is retried: an exception class or a tuple of them.
    """

    attempts: int = 3
    backoff: Duration = 1
    cap: Duration = 60
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise ValueError(f"Retry(attempts={self.attempts!r}): a whole number from 1 was expected")
        seconds(self.backoff)
        seconds(self.cap)

    def delay(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th failure, counted from 1."""
        bound = min(seconds(self.cap), seconds(self.backoff) * 2.0 ** min(failures - 1, 60))
        return random.uniform(0, bound)
