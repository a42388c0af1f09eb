"""The demo's workflows. All run offline, against the sandbox service."""

from demo import contacts, letter, purchase, refund, research

__all__ = ["contacts", "letter", "purchase", "refund", "research"]
