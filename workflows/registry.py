"""Which workflows there are, by name and version."""

from typing import TYPE_CHECKING, Any

from workflows.errors import RegistrationError

if TYPE_CHECKING:
    from workflows.definition import Workflow
    from workflows.state import State

_versions: dict[str, dict[str, "Workflow[Any]"]] = {}


class WorkflowUnknown(LookupError):
    """No workflow of that name is registered here."""


def register(workflow: "Workflow[Any]") -> None:
    versions = _versions.setdefault(workflow.name, {})
    if workflow.version in versions:
        raise RegistrationError(
            f"{workflow.where}: workflow {workflow.name!r} version {workflow.version!r} is defined already in "
            f"{versions[workflow.version].where}; give one another name or version"
        )
    versions[workflow.version] = workflow


def forget(name: str) -> None:
    """Take a workflow out again; for tests that define their own."""
    _versions.pop(name, None)


def newest(name: str) -> "Workflow[Any]":
    """The version registered last. Raises WorkflowUnknown."""
    try:
        return list(_versions[name].values())[-1]
    except KeyError:
        known = ", ".join(sorted(_versions)) or "none"
        raise WorkflowUnknown(f"No workflow is called {name!r}; known are: {known}.") from None


def version(name: str, wanted: str) -> "Workflow[Any]":
    """That version, or the newest where it is gone. Raises WorkflowUnknown."""
    found = _versions.get(name, {}).get(wanted)
    return found if found is not None else newest(name)


def known(name: str, wanted: str) -> "Workflow[Any] | None":
    """As ``version``, or None where no such workflow is registered any more."""
    try:
        return version(name, wanted)
    except WorkflowUnknown:
        return None


def schema(name: str, wanted: str) -> "type[State] | None":
    """The state schema of that version, or None where no such workflow is registered any more."""
    workflow = known(name, wanted)
    return workflow.state if workflow is not None else None


def all_newest() -> list["Workflow[Any]"]:
    return [newest(name) for name in sorted(_versions)]


def all_versions() -> list["Workflow[Any]"]:
    return [workflow for versions in _versions.values() for workflow in versions.values()]


def versions_beside(workflow: "Workflow[Any]") -> list[str]:
    """The other registered versions of a workflow."""
    return [version for version in _versions[workflow.name] if version != workflow.version]


def finish() -> None:
    """Check every definition as a whole. Raises RegistrationError."""
    for versions in _versions.values():
        for workflow in versions.values():
            workflow.finish()
