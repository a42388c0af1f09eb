"""How often something may be tried. Redis counts for all processes; without it each counts for itself."""

from collections.abc import Callable
from functools import cache

from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import RedisError

SIGN_INS_FROM = RateLimitItemPerMinute(60, namespace="sign-in-from")  # that failed, from one address
SIGN_INS = RateLimitItemPerMinute(10, namespace="sign-in")  # that failed, of one name from one address
LINKS = RateLimitItemPerMinute(120, namespace="link")  # of one link from one address: scanners may look often
ANSWERS = RateLimitItemPerMinute(10, namespace="answer")  # by one link
TESTS = RateLimitItemPerMinute(10, namespace="test")  # messages that an admin has sent to try a channel


@cache
def _shared() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(RedisStorage(settings.REDIS_URL, socket_timeout=0.3, socket_connect_timeout=0.3))


@cache
def _own() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())


def allows(limit: RateLimitItem, *whose: str) -> bool:
    """Count one try; False where there were too many in this minute."""
    return _asked(lambda limiter: limiter.hit(limit, *whose))


def is_spent(limit: RateLimitItem, *whose: str) -> bool:
    """Whether there were too many in this minute; nothing is counted."""
    return not _asked(lambda limiter: limiter.test(limit, *whose))


def _asked(ask: Callable[[FixedWindowRateLimiter], bool]) -> bool:
    try:
        return ask(_shared())
    except (RedisError, OSError):
        return ask(_own())
