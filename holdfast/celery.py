"""The Celery app. A message is a bell: nothing is lost with it, so nothing about it is kept."""

import os
from typing import Any

import django
from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")

# Celery's Django fixup closes the database connection around every task; ours lives as long as the process.
app = Celery("holdfast", fixups=[])
app.set_default()


def configure() -> None:
    from django.conf import settings

    app.conf.update(
        broker_url=settings.BROKER_URL,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry=False,
        task_ignore_result=True,
        task_default_queue="runs",
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        accept_content=["json"],
        imports=["engine.tasks", "engine.worker", "approvals.tasks"],
    )


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Heard, this keeps Celery from setting levels and handlers of its own: Django's LOGGING counts (holdfast/logs.py)."""


def setup() -> None:
    """For a process that starts from Celery's command line."""
    django.setup()
    configure()


configure()
