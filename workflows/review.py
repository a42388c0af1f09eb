"""What a definition allows and deserves a second look."""

from dataclasses import dataclass
from typing import Any

from workflows.definition import Workflow
from workflows.steps import Gate


@dataclass(frozen=True)
class Finding:
    """One thing, with its remedy."""

    step: str
    text: str

    def __str__(self) -> str:
        return f"{self.step}: {self.text}"


def findings(workflow: Workflow[Any]) -> list[Finding]:
    """Steps that nothing leads to, effects that nobody can look up, gates that name nobody, missing migrations."""
    kind = workflow.state
    missing = [version for version in range(1, kind.schema_version) if version not in kind.migrations]
    found = [
        Finding(kind.__name__, f"old states cannot be read: @{kind.__name__}.migrate(from_version={version}) is missing")
        for version in missing
    ]
    reached = reachable(workflow)
    for step in workflow.all_steps.values():
        if step.name not in reached:
            what = "Send" if step.is_branch else "Goto"
            text = f"nothing leads here; if a {what} does, name it in then=[…] of the step that returns it"
            found.append(Finding(step.name, text))
        if step.is_effect and step.verify is None:
            text = "an effect without verify: after a lost reply or a crash a person is asked whether it happened"
            text = (
                text if step.on_unknown == "ask" else f"an effect without verify: after a crash on_unknown={step.on_unknown!r}"
            )
            found.append(Finding(step.name, text))
        if isinstance(step, Gate) and not step.policy.approvers:
            found.append(Finding(step.name, "a gate that names no approvers: only admins can decide it"))
    return found


def reachable(workflow: Workflow[Any]) -> set[str]:
    """The steps that the declared edges lead to from the first one. An effect may also send the run back to its gate."""
    edges = [(edge["from"], edge["to"]) for edge in workflow.graph()["edges"]]
    edges += [(step.name, step.approved_by) for step in workflow.steps.values() if step.approved_by]
    reached, ahead = set[str](), [workflow.first()]
    while ahead:
        here = ahead.pop()
        if here not in reached:
            reached.add(here)
            ahead += [
                target for start, target in edges if start == here and (target in workflow.steps or target in workflow.branches)
            ]
    return reached
