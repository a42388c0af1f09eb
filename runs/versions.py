"""The runs that a registered version of a workflow speaks for."""

from typing import Any

from django.db.models import Q

from workflows import Workflow, registry


def runs_of(workflow: Workflow[Any]) -> Q:
    """Its own runs; the newest version's are also those of versions that are gone."""
    if registry.newest(workflow.name) is not workflow:
        return Q(workflow=workflow.name, version=workflow.version)
    return Q(workflow=workflow.name) & ~Q(version__in=registry.versions_beside(workflow))
