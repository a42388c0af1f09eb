"""The graph of a workflow, laid out by Graphviz: boxes and curves in pixels, for an SVG of ours."""

import functools
import re
import threading
from dataclasses import dataclass
from typing import Any

from workflows import Workflow

DPI = 72  # Graphviz counts in inches of so many points
HEIGHT, LETTER, PADDING = 36, 8.2, 52  # of a box, in pixels
ENDS = {"end": "end", "roll_back": "roll back"}
_one_at_a_time = threading.Lock()  # the library keeps state of its own


@dataclass(frozen=True)
class Box:
    """``x`` and ``y`` are its middle."""

    name: str
    kind: str
    x: float
    y: float
    width: float
    acts: bool  # it changes the world outside
    height: float = HEIGHT

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2


@dataclass(frozen=True)
class Curve:
    """``path`` as SVG has it, ``head`` the points of its arrow; ``label`` stands at ``x``, ``y``."""

    start: str
    end: str
    label: str
    path: str
    head: str
    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


@functools.lru_cache(maxsize=200)
def layout(workflow: Workflow[Any]) -> Layout:
    """Made once for each version of a workflow."""
    import pygraphviz  # 17 MB, which only a process that draws should hold

    graph = workflow.graph()
    kinds = {node["name"]: node["kind"] for node in graph["nodes"]}
    edges = [{**edge, "to": _target(workflow, edge)} for edge in graph["edges"]]
    kinds |= {edge["to"]: "end" for edge in edges if edge["to"] not in kinds}
    acting = {step.name for step in workflow.reading_order() if step.is_effect}
    with _one_at_a_time:
        drawn = pygraphviz.AGraph(directed=True, strict=False, rankdir="TB", nodesep="0.35", ranksep="0.45")
        for name, kind in kinds.items():
            width = (len(ENDS.get(name, name)) * LETTER + (24 if kind == "end" else PADDING)) / DPI
            drawn.add_node(name, shape="box", fixedsize="true", width=f"{width:.3f}", height=f"{HEIGHT / DPI:.3f}", label="")
        for number, edge in enumerate(edges):
            label = {"label": edge["label"], "fontsize": "11"} if edge["label"] else {}
            drawn.add_edge(edge["from"], edge["to"], key=str(number), **label)
        drawn.layout("dot")
        _, _, right, top = (float(part) for part in drawn.graph_attr["bb"].split(","))
        boxes = tuple(_box(name, kind, name in acting, drawn.get_node(name), top) for name, kind in kinds.items())
        curves = tuple(_curve(edge, drawn.get_edge(edge["from"], edge["to"], str(n)), top) for n, edge in enumerate(edges))
        drawn.close()
    return Layout(right, top, boxes, curves)


def _target(workflow: Workflow[Any], edge: dict[str, str]) -> str:
    """A rejection that goes on leads to the step that follows."""
    return (workflow.after(edge["from"]) or "end") if edge["to"] == "next" else edge["to"]


def _box(name: str, kind: str, acts: bool, node: Any, top: float) -> Box:
    x, y = (float(part) for part in node.attr["pos"].split(","))
    return Box(name, kind, x, top - y, float(node.attr["width"]) * DPI, acts)


def _curve(edge: dict[str, str], drawn: Any, top: float) -> Curve:
    """Graphviz writes ``e,x,y`` for the arrow's point, then the points of Bézier curves."""
    tip, points = None, []
    for word in drawn.attr["pos"].replace("\\\n", "").split():
        x, y = (float(part) for part in re.findall(r"-?[\d.]+(?:e-?\d+)?", word)[-2:])
        if word.startswith("e,"):
            tip = (x, top - y)
        elif not word.startswith("s,"):
            points.append((x, top - y))
    rest = " ".join(f"{x:.1f},{y:.1f}" for x, y in points[1:])
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f} C{rest}"
    place = drawn.attr["lp"]
    x, y = (float(part) for part in place.split(",")) if place else (0.0, 0.0)
    return Curve(edge["from"], edge["to"], edge["label"], path, _head(points[-1], tip), x, top - y)


def _head(base: tuple[float, float], tip: tuple[float, float] | None) -> str:
    """A triangle from the curve's end to the arrow's point."""
    if tip is None:
        return ""
    across, down = (base[1] - tip[1]) * 0.4, (tip[0] - base[0]) * 0.4
    corners = [tip, (base[0] + across, base[1] + down), (base[0] - across, base[1] - down)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
