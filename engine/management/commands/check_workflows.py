"""``manage.py check_workflows``: what is registered, and what deserves a second look."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workflows import Workflow, registry
from workflows.review import Finding, findings


class Command(BaseCommand):
    help = "Print every workflow's graph and state, and what deserves a second look. Registration errors end it at once."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="*", help="only these workflows")
        parser.add_argument("--strict", action="store_true", help="exit with 1 when anything was found")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            chosen = [registry.newest(name) for name in options["name"]] or registry.all_newest()
        except registry.WorkflowUnknown as error:
            raise CommandError(str(error)) from None
        found: list[Finding] = []
        for workflow in chosen:
            self._describe(workflow)
            here = findings(workflow)
            for finding in here:
                self.stdout.write(f"  ! {finding}")
            found += here
        self.stdout.write(f"{len(chosen)} workflows, {len(found)} findings")
        if found and options["strict"]:
            raise CommandError("there are findings", returncode=1)

    def _describe(self, workflow: Workflow[Any]) -> None:
        self.stdout.write(f"{workflow.name} version {workflow.version} ({workflow.where})")
        schema = workflow.state
        fields = [name + ("" if info.is_required() else "?") for name, info in schema.model_fields.items()]
        self.stdout.write(f"  {schema.__name__} schema {schema.schema_version}: {', '.join(fields)}")
        edges = workflow.graph()["edges"]
        for step in workflow.reading_order():
            leads = [
                edge["to"] + (f" ({edge['label']})" if edge["label"] else "") for edge in edges if edge["from"] == step.name
            ]
            self.stdout.write(f"  {step.kind:<6} {step.name} → {', '.join(leads)}")
