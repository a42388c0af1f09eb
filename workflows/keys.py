"""The idempotency key of a visit."""

import uuid


def visit_key(run_id: uuid.UUID, step: str, visit: int) -> str:
    """The same for every attempt of one visit, new for a new visit. A UUIDv5 (RFC 9562), so that any API takes it."""
    return str(uuid.uuid5(run_id, f"{step}/{visit}"))
