"""``celery -A holdfast.worker worker``: the Celery app in a process of its own, with Django set up."""

import warnings

from celery.platforms import SecurityWarning  # type: ignore[attr-defined] # its stubs lack it

from holdfast.celery import app, setup

# Celery warns against root because of pickled messages; ours are JSON, and no more than a run's id.
warnings.filterwarnings("ignore", category=SecurityWarning)
setup()
__all__ = ["app"]
