"""A run in the graph of its workflow: how often it was at each step, which way it went, and where it is."""

from dataclasses import dataclass
from typing import Any

from console.run_page.drawing import Box, Curve, Layout, layout
from runs import hot
from runs.models import Branch, Run
from runs.moves import BranchStatus, Status
from workflows import Workflow, registry

_WAYS = "SELECT step, next_step, count(*) FROM checkpoints_checkpoint WHERE run_id = %(run)s AND step <> '' GROUP BY 1, 2"


@dataclass(frozen=True)
class Node:
    """``state``: here, waiting, failed, done, or empty: it was not there. ``words`` say so."""

    box: Box
    count: int
    state: str

    @property
    def words(self) -> str:
        often = f", {self.count} times" if self.count > 1 else ""
        said = {"here": "the run is here", "waiting": "waits for people here", "failed": "it failed here", "done": "done"}
        return said.get(self.state, "not visited") + often


@dataclass(frozen=True)
class Edge:
    curve: Curve
    count: int


@dataclass(frozen=True)
class Drawing:
    layout: Layout
    nodes: list[Node]
    edges: list[Edge]

    @property
    def in_words(self) -> str:
        """For those who hear it."""
        return "; ".join(f"{node.box.name}: {node.words}" for node in self.nodes if node.box.kind != "end")


def of_workflow(workflow: Workflow[Any]) -> Drawing:
    """Without any run."""
    found = layout(workflow)
    return Drawing(found, [Node(box, 0, "") for box in found.boxes], [Edge(curve, 0) for curve in found.curves])


def of_run(run: Run) -> Drawing | None:
    """None where the workflow's version is gone."""
    workflow = registry.known(run.workflow, run.version)
    if workflow is None:
        return None
    found = layout(workflow)
    names = {name: step.name for step in workflow.all_steps.values() for name in step.names}
    visits: dict[str, int] = {}
    ways: dict[tuple[str, str], int] = {}
    for step, following, count in hot.rows(_WAYS, {"run": run.pk}):
        step, following = names.get(step, step), names.get(following, following)
        visits[step] = visits.get(step, 0) + count
        ways[step, following] = ways.get((step, following), 0) + count
    parts = _parts(run, workflow)
    here = _here(run, names)
    nodes = [
        Node(box, parts.get(box.name, visits.get(box.name, 0)), _state(box, run, here, visits, parts)) for box in found.boxes
    ]
    edges = [Edge(curve, _often(curve, ways, parts)) for curve in found.curves]
    return Drawing(found, nodes, edges)


def _parts(run: Run, workflow: Workflow[Any]) -> dict[str, int]:
    """How many branches are done with each branch step."""
    if not workflow.branches:
        return {}
    statement = """
    SELECT kept->>'step', count(*) FROM runs_branch, jsonb_array_elements(done) AS kept WHERE run_id = %(run)s GROUP BY 1
    """
    return {step: count for step, count in hot.rows(statement, {"run": run.pk}) if step in workflow.branches}


def _here(run: Run, names: dict[str, str]) -> set[str]:
    if run.is_final and run.status != Status.FAILED:
        return {"end"} if run.status == Status.SUCCEEDED else set()
    if run.is_fanned_out:
        moving = Branch.objects.filter(fan_out=run.fan_out_id).exclude(status=BranchStatus.SUCCEEDED)
        return {names.get(step, step) for step in moving.values_list("step", flat=True).distinct()[:20]}
    return {names.get(run.step, run.step)}


def _state(box: Box, run: Run, here: set[str], visits: dict[str, int], parts: dict[str, int]) -> str:
    if box.name in here:
        if run.status == Status.SUCCEEDED:
            return "done"
        return {Status.FAILED: "failed", Status.WAITING: "waiting"}.get(Status(run.status), "here")
    return "done" if visits.get(box.name) or parts.get(box.name) else ""


def _often(curve: Curve, ways: dict[tuple[str, str], int], parts: dict[str, int]) -> int:
    if curve.label in ("each", "join"):
        return parts.get(curve.end if curve.label == "each" else curve.start, 0)
    return ways.get((curve.start, curve.end), 0)
