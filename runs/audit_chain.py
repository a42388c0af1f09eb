"""Walking the audit's chain: is every act as it was written, and is none gone?"""

from dataclasses import dataclass, field

from django.db.models import Max

from runs.models import AuditEntry, AuditHead
from runs.services.journal import content_hash, link


@dataclass
class AuditReport:
    """What a walk has found: how many acts, the digest of the last, and each break as ``(row, why)``."""

    entries: int = 0
    digest: str = ""
    breaks: list[tuple[str, str]] = field(default_factory=list)


def verify() -> AuditReport:
    """Walk all acts in the order of their commits."""
    report, digest, expected = AuditReport(), b"", 0
    head = AuditHead.objects.first()  # read first: what commits meanwhile comes after it
    written = AuditEntry.objects.aggregate(last=Max("seq"))["last"] if head is None else head.seq
    last = -1 if written is None else written
    if head is None and last >= 0:
        report.breaks.append(("its end", "the row that names the last act is gone"))
    for entry in AuditEntry.objects.filter(seq__lte=last).order_by("seq").iterator(chunk_size=1000):
        assert entry.seq is not None and entry.digest is not None
        where = f"seq {entry.seq} (row {entry.pk})"
        if entry.seq != expected:
            report.breaks.append((f"seq {expected}", "the act is gone"))
        elif link(digest, entry.seq, bytes(entry.content_hash)) != bytes(entry.digest):
            report.breaks.append((where, "its digest does not follow from the acts before it"))
        if content_hash(entry.parts()) != bytes(entry.content_hash):
            report.breaks.append((where, f"its content does not match its hash: {entry.actor} {entry.act} {entry.subject}"))
        digest, expected = bytes(entry.digest), entry.seq + 1
        report.entries += 1
    if expected <= last:
        report.breaks.append((f"seq {expected}", "the act is gone" + (f", as are all to {last}" if last > expected else "")))
    elif head is not None and digest != bytes(head.digest):
        report.breaks.append((f"seq {last}", "the last digest is not the chain's"))
    for pk in AuditEntry.objects.filter(seq=None).order_by("pk").values_list("pk", flat=True):
        report.breaks.append((f"row {pk}", "it was written past the chain"))
    report.digest = digest.hex()
    return report
