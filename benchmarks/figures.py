"""Figures and how they are printed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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


def memory(pid: int, which: str = "VmHWM") -> float:
    """MiB that a process has in memory: the most so far, or with ``VmRSS`` now. 0.0 where it is not known."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) / 1024
    return 0.0
