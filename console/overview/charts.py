"""Plots as the server draws them: the geometry of stacked columns and of lines, for an SVG of 100 by 100."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_SERIES = 5  # the others are one


@dataclass(frozen=True)
class Block:
    """One series' share of a column, in hundredths of the plot."""

    series: str
    x: float
    y: float
    width: float
    height: float
    value: float


@dataclass(frozen=True)
class Chart:
    """``columns``: per part of the time its label, where it leads, and its values by series."""

    title: str
    unit: str
    series: tuple[str, ...]
    columns: tuple[tuple[str, str, Mapping[str, float]], ...]
    top: float
    blocks: tuple[Block, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()  # (series, points)

    @property
    def totals(self) -> list[tuple[str, float]]:
        return [(name, sum(values.get(name, 0) for _, _, values in self.columns)) for name in self.series]

    @property
    def is_empty(self) -> bool:
        return not any(value for _, _, values in self.columns for value in values.values())

    @property
    def ends(self) -> tuple[str, str]:
        """The labels of the first and the last column."""
        return self.columns[0][0], self.columns[-1][0]


def stacked(title: str, unit: str, series: Sequence[str], columns: Sequence[tuple[str, str, Mapping[str, float]]]) -> Chart:
    """Columns whose height is the sum of their series."""
    top = max((sum(values.values()) for _, _, values in columns), default=0) or 1
    width = 100 / max(1, len(columns))
    blocks = []
    for place, (_, _, values) in enumerate(columns):
        y = 100.0
        for name in series:
            height = 100 * values.get(name, 0) / top
            y -= height
            if height:
                blocks.append(Block(name, place * width + width * 0.1, y, width * 0.8, height, values[name]))
    return Chart(title, unit, tuple(series), tuple(columns), top, tuple(blocks))


def lines(title: str, unit: str, series: Sequence[str], columns: Sequence[tuple[str, str, Mapping[str, float]]]) -> Chart:
    """A line a series; a part of the time without a value is left out of it, and one alone is a dash as wide as its column."""
    top = max((value for _, _, values in columns for value in values.values()), default=0) or 1
    width = 100 / max(1, len(columns))
    drawn = []
    for name in series:
        points = [
            ((place + 0.5) * width, 100 - 100 * values[name] / top)
            for place, (_, _, values) in enumerate(columns)
            if name in values
        ]
        if len(points) == 1:
            points = [(points[0][0] + side * width * 0.4, points[0][1]) for side in (-1, 1)]
        drawn.append((name, " ".join(f"{x:.2f},{y:.2f}" for x, y in points)))
    return Chart(title, unit, tuple(series), tuple(columns), top, lines=tuple(drawn))


def largest(found: Mapping[str, float]) -> list[str]:
    """The names with the largest values; where there are many, ``others`` at the end."""
    names = sorted(found, key=lambda name: -found[name])
    return names if len(names) <= MOST_SERIES else [*names[: MOST_SERIES - 1], "others"]
