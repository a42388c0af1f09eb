"""The control worker's task: people are to hear of something."""

import logging
from typing import Any

import psycopg
from celery import shared_task
from django.db import InterfaceError, OperationalError, connection

from approvals.notifying import answering, delivering, handing_on
from runs import bell

AT_MOST = 30.0  # seconds of one task; then another is rung for, so that a worker which is to stop can
log = logging.getLogger("holdfast.notify")


@shared_task(name=bell.DELIVER, ignore_result=True)
def deliver() -> None:
    """Hand on what is in the outbox, and send what is due. Safe to run twice, and at the same time."""
    try:
        while handing_on.hand_on():
            pass
        if delivering.deliver(AT_MOST):
            bell.tell()
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        log.warning("database away; the sweeper will ring again: %s", str(error).splitlines()[0:1])
        connection.close()


@shared_task(name=bell.ANSWER, ignore_result=True)
def answer(url: str, message: dict[str, Any]) -> None:
    """Tell a chat what became of a pressed button."""
    answering.send(url, message)
