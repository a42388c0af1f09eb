"""The one Celery task that runs agents' work: a bell was rung."""

import logging
import os
import uuid

import psycopg
from celery import shared_task
from django.db import DatabaseError, InterfaceError, OperationalError

from engine import advancing, timelimit
from engine.insisting import is_refusal
from engine.lease import EXIT_LEASE_LOST
from engine.services import takeover
from runs.bell import ADVANCE

log = logging.getLogger("holdfast.run")


@shared_task(name=ADVANCE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def advance(run_id: str | None) -> None:
    """Carry a due run on. After a database error this process ends: it cannot know what was committed."""
    timelimit.hear_sigterm()
    hint = uuid.UUID(run_id) if run_id else None
    try:
        if not advancing.advance(hint) and hint is not None and _taken_over(hint):
            advancing.advance(hint)
    except (OperationalError, InterfaceError, psycopg.OperationalError):
        log.exception("the database failed in the middle of run %s; this worker process ends", run_id)
        os._exit(EXIT_LEASE_LOST)
    except Exception:  # a fault of ours: the lease must not outlive it, or nobody could take the run over
        log.exception("run %s cannot be carried on here; this worker process ends", run_id)
        os._exit(EXIT_LEASE_LOST)


def _taken_over(hint: uuid.UUID) -> bool:
    """Whether the run was lost and is due again; a server that refuses is left to the sweeper, which asks again."""
    try:
        return takeover.take_over_if_lost(hint)
    except (DatabaseError, psycopg.Error) as error:
        if not is_refusal(error):
            raise
        return False
