"""What every program of the comparison is asked, and how its runs are timed: the same for Holdfast and the peers.

Needs nothing but Python, for each peer lives in an environment without the others.
"""

import argparse
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any

WARM_UP_RUNS = 5


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    for name, default in {"runs": 40, "steps": 5, "size": 1024, "rounds": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--change", choices=["rewrite", "small"], default="rewrite", help="what a step changes")
    parser.add_argument("--go-at", type=float, default=0.0, metavar="UNIX_TIME", help="when the timed part starts")
    return parser


def peer_arguments(description: str | None) -> argparse.Namespace:
    """The same for a program that is told its database."""
    parser = arguments(description)
    parser.add_argument("--database", required=True, metavar="URL", help="an existing PostgreSQL database")
    return parser.parse_args()


def measure(run: Callable[[], object], args: argparse.Namespace) -> dict[str, Any]:
    """Warm up, wait for the moment, then time the loop of runs alone."""
    for _ in range(WARM_UP_RUNS):
        run()
    time.sleep(max(0.0, args.go_at - time.time()))
    rates, started_at = [], time.time()
    for _ in range(args.rounds):
        began = time.perf_counter()
        for _ in range(args.runs):
            run()
        rates.append(args.runs * args.steps / (time.perf_counter() - began))
    asked = {"runs": args.runs, "steps": args.steps, "size": args.size, "change": args.change}
    return {"steps_per_second": round(statistics.median(rates), 1), **asked, "started_at": started_at, "ended_at": time.time()}


def payload(size: int) -> str:
    """So many characters that nothing compresses below half."""
    return secrets.token_hex(size // 2 + 1)[:size]


def message(number: int) -> str:
    """One of 1 KB, other than any before."""
    return f"{number:08}" + payload(1016)
