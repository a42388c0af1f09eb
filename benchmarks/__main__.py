"""Starts a Holdfast of its own, measures, prints, stops it."""

import os
import platform
import sys

from tests.stack import Stack


def main(wanted: list[str]) -> None:
    stack = Stack(HOLDFAST_APPS="benchmarks", HOLDFAST_WORKERS="1", HOLDFAST_SLOTS="2", PYTHONPATH=".").start()
    try:
        os.environ.update({name: value for name, value in stack.environment.items() if name.startswith("HOLDFAST_")})
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")
        _measure(stack, wanted)
    finally:
        stack.stop()


def _measure(stack: Stack, wanted: list[str]) -> None:
    import logging

    import django

    django.setup()
    logging.getLogger("holdfast.run").setLevel(logging.WARNING)
    from django.contrib.auth.models import Group, User

    from benchmarks import boundary, console, cost, deciding, durable, fan_out, gates, history, recovery

    user, _ = User.objects.get_or_create(username="bench")
    user.groups.add(Group.objects.get_or_create(name="operator")[0])
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ratios hold within this run only")
    measures = {
        "boundary": lambda: boundary.measure(stack),
        "deciding": deciding.measure,
        "gates": gates.measure,
        "cost": cost.measure,
        "recovery": recovery.measure,
        "fan_out": lambda: fan_out.measure(stack),
        "console": lambda: console.measure(stack),
        "history": lambda: history.measure(stack),
        "durable": lambda: durable.measure(stack),
    }
    for name, measure in measures.items():
        if not wanted or name in wanted:
            print(f"\n{name}")
            for figure in measure():
                print("  " + figure.line(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
