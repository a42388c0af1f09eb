"""Telling a chat what became of a pressed button: by the control worker, for nobody who presses waits for Slack."""

import logging
from typing import Any

from approvals.notifying import slacking
from approvals.notifying.sending import NotTaken, in_time
from runs import bell

log = logging.getLogger("holdfast.notify")


def answer(url: str, message: dict[str, Any]) -> None:
    """Have it sent. Where it is lost the old buttons stay, and pressing one says that the gate is closed."""
    if url:
        bell.send(bell.ANSWER, "control", url, message)


def send(url: str, message: dict[str, Any]) -> None:
    """Post it once."""
    try:
        in_time(lambda: slacking.post(url, message))
    except NotTaken as error:
        log.warning("Slack was not told what became of a pressed button: %s", error)
