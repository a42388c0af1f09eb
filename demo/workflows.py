"""The demo's workflows. All run offline, against the sandbox service."""

from demo import contacts, refund, research

__all__ = ["contacts", "refund", "research"]
