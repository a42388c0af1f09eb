"""One branch of a played run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from workflows import joining
from workflows import state as states
from workflows.answers import Send
from workflows.attempts import failure
from workflows.state import State, StateInvalid
from workflows.steps import Step
from workflows.testing.player import Player

S = TypeVar("S", bound=State)


class BranchPlayer(Player[S]):
    """One branch: what is scripted and told is the run's, the state is the fan-out's with its own updates."""

    def __init__(self, run: Player[S], index: int, send: Send) -> None:
        self.workflow, self.id, self.known, self.index = run.workflow, run.id, run.workflow.branches, index
        self.answers, self.faults, self.signals, self.effects = run.answers, run.faults, run.signals, run.effects
        self.state, self.values, self.approved = run.state, run.values, run.approved
        self.part, self.given, self.first = f"{run.visit}.{index}", (send.arg,), send.step
        self.parts: list[joining.Part] = []
        self.played = replace(run.played, status="running", error=None, cost_usd=0.0)  # its lists are the run's
        self.begin(send.step)

    def leave(self, target: str, step: Step) -> None:
        self.come_to("end" if target == "next" else target)

    def apply(self, updates: Mapping[str, Any], step: Step) -> bool:
        try:
            change = states.apply(self.state, self.values, updates)
            self.parts.append(joining.part(self.state, self.values, change))
        except StateInvalid as error:
            self.end("failed", failure(error, step))
            return False
        self.state, self.values = change.state, change.values  # type: ignore[assignment] # apply keeps the class
        return True
