"""Bytes and reading times of histories that LangGraph's PostgresSaver keeps.

One thread per history, its graph a node that comes to itself again, ``durability="sync"``, as langgraph_steps.py has it.
``--case`` is ``small`` (64 KB, one counter changes), ``grow`` (a message of 1 KB is appended a step) or ``read`` (1 KB). Prints
one line of JSON: ``bytes`` on disk per checkpoint (tables and indexes), and p50 milliseconds of the latest state, one in the
middle, and the last 50 entries (which come with their states: it has no listing without).
"""

import argparse
import json
import operator
import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph_steps import create_tables
from measuring import message, payload
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
TIMES = 50


class State(TypedDict):
    payload: str
    n: int
    messages: Annotated[list[str], operator.add]


def build(saver: PostgresSaver, case: str, steps: int) -> Any:
    def step(state: State) -> dict[str, Any]:
        added = {"messages": [message(state["n"])]} if case == "grow" else {}
        return {"n": state["n"] + 1, **added}

    builder = StateGraph(State).add_node("step", step).add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["n"] < steps else END)
    return builder.compile(checkpointer=saver).with_config(recursion_limit=steps + 5)


def size_of(connection: Connection[DictRow]) -> int:
    sizes = " + ".join(f"pg_total_relation_size('{name}')" for name in TABLES)
    row = connection.execute(f"SELECT {sizes} AS size").fetchone()
    assert row is not None
    return int(row["size"])


def p50(act: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return statistics.median(found) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--case", choices=["small", "grow", "read"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    os.environ["LANGSMITH_TRACING"] = "false"
    with Connection.connect(args.database, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
        saver = PostgresSaver(connection)
        create_tables(connection, saver)
        before = size_of(connection)
        graph, thread = build(saver, args.case, args.steps), {"configurable": {"thread_id": str(uuid4())}}
        size = 1024 if args.case == "read" else 65536 if args.case == "small" else 16
        graph.invoke({"payload": payload(size), "n": 0, "messages": []}, thread, durability="sync")
        connection.execute("CHECKPOINT")
        figures: dict[str, float] = {"bytes": (size_of(connection) - before) / args.steps}
        if args.case == "read":
            middle = connection.execute(
                "SELECT checkpoint_id FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id OFFSET %s LIMIT 1",
                [thread["configurable"]["thread_id"], args.steps // 2],
            ).fetchone()
            assert middle is not None
            at = {"configurable": {**thread["configurable"], "checkpoint_id": middle["checkpoint_id"], "checkpoint_ns": ""}}
            whole = {"configurable": {**thread["configurable"], "checkpoint_ns": ""}}
            figures |= {
                "latest": p50(lambda: saver.get_tuple(whole)),
                "middle": p50(lambda: saver.get_tuple(at)),
                "entries": p50(lambda: list(saver.list(whole, limit=50))),
            }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
