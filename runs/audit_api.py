"""The audit over HTTP."""

from typing import Any, Literal

from django.db import transaction
from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router

from runs import auditing
from runs.api import Limit, Seq
from runs.models import Act, AuditEntry
from runs.schemas import Audit
from runs.services import audit
from runs.streaming import streamed

router = Router(tags=["audit"])


class AuditList(auditing.AuditQuery):
    after: Seq | None = None
    before: Seq | None = None
    order: Literal["asc", "desc"] = "desc"
    limit: Limit = 50


@router.get("/audit", response=Audit, operation_id="list_audit", summary="What people did, newest first")
def list_audit(request: HttpRequest, query: Query[AuditList]) -> dict[str, Any]:
    """Admins read all acts, others their own. With ``order=asc`` and ``after`` nothing that is committed later is missed."""
    entries = auditing.narrow(AuditEntry.objects.visible_to(request.user), query)
    span = {"after": query.after, "before": query.before, "newest_first": query.order == "desc"}
    items, following = auditing.page(entries, **span, limit=query.limit)  # type: ignore[arg-type]
    return {"items": [auditing.as_json(entry) for entry in items], "next": following}


@router.get("/audit/export", operation_id="export_audit", summary="The acts as JSON lines or CSV")
def export_audit(
    request: HttpRequest, query: Query[auditing.AuditQuery], format: Literal["jsonl", "csv"] = "jsonl"
) -> StreamingHttpResponse:  # fmt: skip
    return exported(request, query, format)


def exported(request: HttpRequest, query: auditing.AuditQuery, form: str) -> StreamingHttpResponse:
    """The document, after the act that says who took it."""
    entries = auditing.narrow(AuditEntry.objects.visible_to(request.user), query)
    with transaction.atomic():
        given = query.model_dump(mode="json", exclude_none=True)
        audit.record(request.user, Act.EXPORTED, subject=f"the audit as {form}", changed=given)
    lines = auditing.written(entries, form)
    return streamed(request, lines, content_type=auditing.FORMATS[form], name=f"holdfast-audit.{form}")
