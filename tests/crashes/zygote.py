"""A process that has everything imported, and forks one child for each order that it reads: the one that is to die.

Orders are JSON lines: ``{"do": "work"|"decide"|"sweep"|"start"|"deliver", "point", "nth", …}``. The answer is the child's
end: a negative number is the signal that killed it.
"""

import json
import os
import sys
from typing import Any


def main(database: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")
    import django
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = database
    settings.HOLDFAST_LEASE_URL = settings.DATABASE_URL.replace("/holdfast?", f"/{database}?")
    django.setup()
    import logging

    import approvals.tasks  # noqa: F401
    import engine.sweeper  # noqa: F401 - so that no child has to
    from tests.crashes import workflows  # noqa: F401 - registers them

    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _die_doing(order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _die_doing(order: dict[str, Any]) -> None:
    from runs import bell
    from tests.crashes import points

    bell.ring = lambda run_id=None: True
    bell.tell = lambda: True
    points.arm(order["point"], order["nth"])
    try:
        _do(order)
    except BaseException as error:
        print(f"{order}: {error!r}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


def _do(order: dict[str, Any]) -> None:
    import uuid
    from ipaddress import ip_network

    from django.conf import settings
    from django.contrib.auth.models import User

    from approvals import tasks
    from approvals.models import Gate
    from approvals.services.deciding import decide
    from engine import advancing, lease, sweeper
    from engine.services import starting

    if order["do"] == "work":
        lease.hold()
        advancing.advance(uuid.UUID(order["run"]))
    elif order["do"] == "deliver":
        settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
        tasks.deliver()
    elif order["do"] == "sweep":
        sweeper.SETTLE_AFTER_START = 0.0
        sweeper.Sweeper().sweep()
    elif order["do"] == "start":
        user = User.objects.get(username="alice")
        starting.start(workflow=order["workflow"], input=order["input"], by=user, idempotency_key=order["key"])
    else:
        gate = Gate.objects.get(run_id=order["run"])
        seen = {"version": gate.version, "proposal_hash": gate.proposal_hash}
        decide(gate.pk, by=User.objects.get(username="bob"), verdict="approve", channel=order["channel"], **seen)


if __name__ == "__main__":
    main(sys.argv[1])
