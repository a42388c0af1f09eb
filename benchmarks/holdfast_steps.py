"""Durable steps per second of Holdfast: one worker process. Takes and prints what the peers' programs do (peers/).

A run is claimed and carried through ``--steps`` steps as a run worker does it: validated state, journal, digest, poke. The
loop of runs alone is timed; the runs are created before.
"""

import argparse
import json
import os
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any

WARM_UP_RUNS = 5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"runs": 40, "steps": 5, "size": 1024, "rounds": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--change", choices=["rewrite", "small"], default="rewrite", help="what a step changes")
    parser.add_argument("--go-at", type=float, default=0.0, metavar="UNIX_TIME", help="when the timed part starts")
    return parser.parse_args()


def measure(args: argparse.Namespace, start: Callable[[int], list[Any]], carry_on: Callable[[Any], Any]) -> dict[str, Any]:
    for run in start(WARM_UP_RUNS):
        carry_on(run)
    rounds = [start(args.runs) for _ in range(args.rounds)]
    time.sleep(max(0.0, args.go_at - time.time()))
    rates, started_at = [], time.time()
    for runs in rounds:
        began = time.perf_counter()
        for run in runs:
            assert carry_on(run)
        rates.append(args.runs * args.steps / (time.perf_counter() - began))
    return {"steps_per_second": round(statistics.median(rates), 1), "started_at": started_at, "ended_at": time.time()}


def main() -> None:
    args = arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")
    import logging

    import django

    django.setup()
    logging.getLogger("holdfast").setLevel(logging.WARNING)  # the peers are quiet too
    from django.contrib.auth.models import User

    from benchmarks import boundary, workflows
    from engine import stretch
    from engine.services import starting

    user = User.objects.get(username="bench")
    workflows.payloads[:] = [secrets.token_hex(args.size // 2 + 1)[: args.size] for _ in range(args.steps + 1)]
    given = {"payload": workflows.payloads[0], "steps": args.steps, "rewrites": args.change == "rewrite"}

    def start(count: int) -> list[Any]:
        return [starting.start(workflow="bench-durable", input=given, by=user)[0].pk for _ in range(count)]

    with boundary.silent_bells(), boundary.own_lease():
        figures = measure(args, start, stretch.advance)
    print(json.dumps({"peer": "holdfast", **figures}))


if __name__ == "__main__":
    main()
