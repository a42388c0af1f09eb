"""Figures and how they are printed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    name: str
    value: str
    detail: str = ""

    def line(self) -> str:
        return f"{self.name:<42} {self.value:>16}   {self.detail}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The value at ``share`` of the sorted values (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def spread(values: Sequence[float], factor: float = 1.0) -> str:
    return f"{min(values) * factor:.2f}–{max(values) * factor:.2f}"
