"""Writing the document, piece by piece, so that a long history does not have to fit into memory."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from approvals.models import Gate
from checkpoints.models import Checkpoint, Content
from engine.portable import document
from runs.clock import iso
from runs.models import Event, FanOut, Kind, Run
from workflows import masking, registry

PAGE = 500  # entries read at once
GATE = ("step", "visit", "ordinal", "together", "key", "kind", "status", "title", "summary", "action", "context", "verdicts",
        "version", "proposal_hash", "policy", "approver_users", "approver_groups", "allow_self", "distinct_from", "quorum",
        "veto", "risk", "seq", "level",
        "on_timeout", "on_reject", "on_respond", "goto", "merges", "outcome_verdict", "outcome_by")  # fmt: skip
DECISION = ("verdict", "by_name", "groups", "bypass", "replaced", "channel", "comment", "args", "version", "proposal_hash")
FAN_OUT = ("seq", "sender", "part", "join_visit", "total", "max_parallel", "on_failure")
BRANCH = ("index", "arg", "status", "step", "visit", "attempt", "done", "error", "input_tokens", "output_tokens")


def written(run: Run) -> Iterator[str]:
    """The document's text. Secrets are in it as they are stored, sealed, and without their key."""
    manifest = hashlib.sha256()

    def item(found: dict[str, Any]) -> str:
        sealed = document.seal(found)
        manifest.update(sealed["sha256"].encode())
        return json.dumps(sealed, ensure_ascii=False, allow_nan=False)

    yield f'{{"format": "{document.FORMAT}", "version": {document.VERSION},\n"run": {item(_run(run))}'
    lists: dict[str, Iterable[dict[str, Any]]] = {
        "entries": _entries(run), "contents": _contents(run), "fan_outs": _fan_outs(run), "gates": _gates(run)
    }  # fmt: skip
    for name in document.LISTS:
        yield f',\n"{name}": ['
        for number, found in enumerate(lists[name]):
            yield (",\n" if number else "\n") + item(found)
        yield "]"
    yield f',\n"manifest": {{"sha256": "{manifest.hexdigest()}"}}}}\n'


def _run(run: Run) -> dict[str, Any]:
    schema = registry.schema(run.workflow, run.version)
    return {
        **{name: getattr(run, name) for name in ("workflow", "version", "status", "step", "visit", "attempt", "seq", "labels",
                                                 "error", "reason", "input_tokens", "output_tokens", "rolls_back_from")},
        "id": str(run.pk),
        "digest": bytes(run.digest).hex(),
        "input": masking.masked(schema, run.input) if isinstance(run.input, dict) else run.input,
        "cost_usd": str(run.cost_usd),
        **{name: iso(getattr(run, name)) for name in ("created_at", "started_at", "finished_at", "pruned_at")},
        "forked_from": {"run": str(run.forked_from_id), "seq": run.forked_at_seq} if run.forked_from_id else None,
        "by": run.created_by.get_username() if run.created_by else None,
    }  # fmt: skip


def _entries(run: Run) -> Iterator[dict[str, Any]]:
    """Up to the run's ``seq`` as it was read: a run that goes on meanwhile is exported as of then."""
    for start in range(0, run.seq + 1, PAGE):
        span = {"run": run, "seq__gte": start, "seq__lt": min(start + PAGE, run.seq + 1)}
        rows: list[Any] = [*Checkpoint.objects.filter(**span), *Event.objects.filter(**span)]
        for row in sorted(rows, key=lambda one: one.seq):
            yield _checkpoint(row) if isinstance(row, Checkpoint) else _event(row)


def _checkpoint(row: Checkpoint) -> dict[str, Any]:
    names = ("step", "visit", "attempt", "schema_version", "next_step", "reused_from", "usage", "logs")
    return {
        **_entry(row, Kind.CHECKPOINT),
        **{name: getattr(row, name) for name in names},
        "delta": _base64(row.delta),
        "keyframe": _base64(row.keyframe),
    }


def _event(row: Event) -> dict[str, Any]:
    return {**_entry(row, row.kind), **{name: getattr(row, name) for name in ("step", "attempt", "by", "detail")}}


def _entry(row: Any, kind: str) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "kind": str(kind),
        "started_at": iso(row.started_at),
        "at": iso(row.at),
        "content_hash": bytes(row.content_hash).hex(),
        "digest": bytes(row.digest).hex(),
    }


def _contents(run: Run) -> Iterator[dict[str, Any]]:
    for row in Content.objects.filter(run=run).order_by("hash").iterator(chunk_size=50):
        yield {"hash": bytes(row.hash).hex(), "data": _base64(row.data)}


def _fan_outs(run: Run) -> Iterator[dict[str, Any]]:
    for row in FanOut.objects.filter(run=run).order_by("seq"):
        branches = row.branches.order_by("index").iterator(chunk_size=500)
        yield {
            **{name: getattr(row, name) for name in FAN_OUT},
            "at": iso(row.at),
            "branches": [_branch(one) for one in branches],
        }


def _branch(row: Any) -> dict[str, Any]:
    times = {name: iso(getattr(row, name)) for name in ("started_at", "finished_at")}
    return {**{name: getattr(row, name) for name in BRANCH}, "cost_usd": str(row.cost_usd), **times}


def _gates(run: Run) -> Iterator[dict[str, Any]]:
    for row in Gate.objects.filter(run=run).select_related("branch__fan_out").order_by("opened_at", "ordinal"):
        decisions = [{**{name: getattr(one, name) for name in DECISION}, "at": iso(one.at), "voided_at": iso(one.voided_at)}
                     for one in row.decisions.all()]  # fmt: skip
        yield {
            **{name: getattr(row, name) for name in GATE},
            **{name: iso(getattr(row, name)) for name in ("due_at", "opened_at", "final_at")},
            "branch": {"fan_out": row.branch.fan_out.seq, "index": row.branch.index} if row.branch else None,
            "decisions": decisions,
        }


def _base64(value: Any) -> str | None:
    return None if value is None else b64encode(bytes(value)).decode()
