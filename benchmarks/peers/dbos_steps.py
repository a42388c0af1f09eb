"""Durable steps per second of DBOS: one process, workflows called one after the other.

A run is a fresh workflow that calls ``--steps`` steps: DBOS commits the result of a step before the call returns. The
loop of runs alone is timed, so the saving of each run's input and outcome counts too; payloads, schema, launch and
warm-up come before. DBOS stores no state, only what a step returns: with ``small`` that is the counter, and the payload
is stored once, as the workflow's input. Prints one line of JSON: ``steps_per_second`` is runs × steps / seconds (of
several rounds the median), ``started_at`` and ``ended_at`` are Unix times around all rounds.
"""

import argparse
import json
import secrets
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from dbos import DBOS, DBOSConfig
from measuring import measure, peer_arguments


def configuration(database: str) -> DBOSConfig:
    return {
        "name": "dbos-steps",
        "system_database_url": database,
        # All processes are "local" otherwise, and one that launches would recover another's unfinished workflows.
        "executor_id": str(uuid4()),
        # On by default, a round trip in every transaction; LangGraph's one connection is not tested either.
        "db_engine_kwargs": {"pool_pre_ping": False},
        "log_level": "ERROR",
        "enable_otlp": False,
    }


def one_run(args: argparse.Namespace) -> Callable[[], object]:
    payloads = [secrets.token_hex(args.size // 2 + 1)[: args.size] for _ in range(args.steps + 1)]

    @DBOS.step()
    def step(n: int) -> dict[str, Any]:
        return {"n": n, "payload": payloads[n]} if args.change == "rewrite" else {"n": n}

    @DBOS.workflow()
    def chain(payload: str) -> None:
        for n in range(1, args.steps + 1):
            step(n)

    return lambda: chain(payloads[0])


def main() -> None:
    args = peer_arguments(__doc__)
    DBOS(config=configuration(args.database))
    run = one_run(args)
    DBOS.launch()
    try:
        figures = measure(run, args)
    finally:
        DBOS.destroy()
    print(json.dumps({"peer": "dbos", "version": version("dbos"), **figures}))


if __name__ == "__main__":
    main()
