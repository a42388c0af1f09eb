"""The lists that everybody has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SystemView:
    """``key`` is its address: ``/runs/?view=stuck``."""

    key: str
    name: str
    query: str = ""
    sort: str = ""


SYSTEM = {
    view.key: view
    for view in (
        SystemView("all", "All"),
        SystemView("in-flight", "In flight", "status:queued,running,rolling_back"),
        SystemView("mine", "Waiting for me", "is:mine"),
        SystemView("stuck", "Stuck", "is:stuck"),
        SystemView("failed", "Failed today", "status:failed finished:today"),
        SystemView("expensive", "Most expensive", "started:<7d", "-cost"),
    )
}
