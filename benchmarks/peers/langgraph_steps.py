"""Durable steps per second of LangGraph with PostgresSaver: one process, one connection.

A run is a fresh thread through a chain of ``--steps`` nodes with ``durability="sync"``: the checkpoint of a step is
committed before the next node begins. The loop of runs alone is timed, so the saving of each run's input counts too;
payloads, tables, graph and warm-up come before. Prints one line of JSON: ``steps_per_second`` is runs × steps / seconds
(of several rounds the median), ``started_at`` and ``ended_at`` are Unix times around all rounds.
"""

import argparse
import json
import os
import secrets
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from measuring import measure, peer_arguments
from psycopg import Connection
from psycopg.rows import DictRow, dict_row


class State(TypedDict):
    payload: str
    n: int


def create_tables(connection: Connection[DictRow], saver: PostgresSaver) -> None:
    """Let one process in at a time. They poll: a wait inside PostgreSQL would block setup()'s CREATE INDEX CONCURRENTLY."""
    while not connection.execute("SELECT 1 WHERE pg_try_advisory_lock(hashtext('langgraph_steps'))").fetchone():
        time.sleep(0.05)
    saver.setup()
    connection.execute("SELECT pg_advisory_unlock(hashtext('langgraph_steps'))")


def one_run(saver: PostgresSaver, args: argparse.Namespace) -> Callable[[], object]:
    payloads = [secrets.token_hex(args.size // 2 + 1)[: args.size] for _ in range(args.steps + 1)]

    def step(state: State) -> dict[str, Any]:
        n = state["n"] + 1
        return {"n": n, "payload": payloads[n]} if args.change == "rewrite" else {"n": n}

    builder = StateGraph(State).add_sequence([(f"step{number}", step) for number in range(args.steps)])
    graph = builder.add_edge(START, "step0").compile(checkpointer=saver).with_config(recursion_limit=args.steps + 1)
    start: State = {"payload": payloads[0], "n": 0}
    return lambda: graph.invoke(start, {"configurable": {"thread_id": str(uuid4())}}, durability="sync")


def main() -> None:
    args = peer_arguments(__doc__)
    os.environ["LANGSMITH_TRACING"] = "false"  # else a developer's own setting would send every run away
    # The documented connection. Neither a pool nor pipeline=True made one sequential process faster.
    with Connection.connect(args.database, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
        saver = PostgresSaver(connection)
        create_tables(connection, saver)
        figures = measure(one_run(saver, args), args)
    print(json.dumps({"peer": "langgraph", "version": version("langgraph"), **figures}))


if __name__ == "__main__":
    main()
