"""What the next page tells once: after an act the browser is sent on, so that a reload repeats nothing."""

import json
from typing import Any

from django.http import HttpRequest

from checkpoints import sealing

PLACE = "news"


def put(request: HttpRequest, **news: Any) -> None:
    """Kept in the session, encrypted: it may be a secret that is shown this once."""
    request.session[PLACE] = sealing.wrapped(json.dumps(news))


def take(request: HttpRequest) -> dict[str, Any]:
    """What was put, if anything; then it is gone."""
    token = request.session.pop(PLACE, None)
    found: dict[str, Any] = json.loads(sealing.unwrapped(token, "of a session")) if token else {}
    return found
