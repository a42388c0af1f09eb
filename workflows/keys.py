"""The idempotency key of a visit."""

import uuid


def visit_key(run_id: uuid.UUID, step: str, visit: int, branch: str = "") -> str:
    """The same for every attempt of one visit, new for a new visit. A UUIDv5 (RFC 9562), so that any API takes it.

    ``branch`` is a ``branch_name``; visits are counted within it.
    """
    return str(uuid.uuid5(run_id, f"{branch}/{step}/{visit}" if branch else f"{step}/{visit}"))


def branch_name(fan_out_seq: int, index: int) -> str:
    """A branch as keys have it: once in a run, whatever else that fans out."""
    return f"{fan_out_seq}.{index}"


def undo_key(effect_key: str) -> str:
    """The key of the compensation of the effect that had ``effect_key``."""
    return str(uuid.uuid5(uuid.UUID(effect_key), "undo"))
