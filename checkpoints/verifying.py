"""Walking a run's whole chain: is every entry as it was written, and does each follow from the one before?"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from checkpoints import blob, contents, packing, store
from checkpoints.contents import Parts
from runs import hot
from runs.models import LASTING, Run
from runs.services import journal

PAGE = 1000  # entries read at once

# Events are hashed over their own columns; checkpoints as store.Row has them.
_ENTRIES = f"""
SELECT {store.COLUMNS}, true AS is_checkpoint, NULL AS kind, NULL AS by, NULL AS detail
FROM checkpoints_checkpoint WHERE run_id = %(run)s AND seq > %(after)s AND seq <= %(to)s
UNION ALL
SELECT seq, content_hash, digest, step, 0, attempt, 0, NULL, NULL, NULL, NULL, '', NULL, false, kind, by, detail
FROM runs_event WHERE run_id = %(run)s AND seq > %(after)s AND seq <= %(to)s
ORDER BY seq LIMIT {PAGE}
"""


@dataclass(frozen=True)
class Break:
    """One place at which a history is not what was written."""

    seq: int
    why: str


@dataclass
class Report:
    """What a walk has found. ``pruned``: entries of which only the hash is left, as their workflow's retention says."""

    run_id: uuid.UUID
    entries: int = 0
    checkpoints: int = 0
    pruned: int = 0
    breaks: list[Break] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not self.breaks


def verify(run: Run, *, to: int | None = None) -> Report:
    """Walk the run's entries from the first, up to ``to`` or as far as ``run`` knows; every break is reported."""
    walk = Walk(run)
    last = run.seq if to is None else min(to, run.seq)
    after = -1
    while rows := hot.rows(_ENTRIES, {"run": run.pk, "after": after, "to": last}):
        walk.read(rows)
        after = rows[-1][0]
    walk.end(last, bytes(run.digest) if last == run.seq else None)
    return walk.report


def verify_and_note(run: Run) -> Report:
    """The same, and the run remembers the first break, so that nobody carries it on; or that there is none any more."""
    report = verify(run)
    if report.breaks and Run.objects.filter(pk=run.pk).exclude(pruned_at=run.pruned_at, seq=run.seq).exists():
        run.refresh_from_db()  # it was pruned meanwhile, or went on
        report = verify(run)
    first = report.breaks[0].seq if report.breaks else None
    if first != run.broken_at:
        Run.objects.filter(pk=run.pk).update(broken_at=first)
        run.broken_at = first
    return report


def note(error: store.HistoryBroken) -> None:
    """A reader came upon a break; the run remembers the earliest that was found."""
    runs = Run.objects.filter(Q(broken_at=None) | Q(broken_at__gt=error.seq), pk=error.run_id)
    runs.update(broken_at=error.seq)


def all_runs() -> Iterator[Run]:
    return Run.objects.defer("input", "saved").order_by("pk").iterator(chunk_size=200)


def pieces_of(stored: bytes) -> set[str]:
    """The hashes of the pieces that a stored record names. Raises ValueError where it cannot be read."""
    if not blob.has_parts(stored):
        return set()
    record = packing.read(blob.unpack(stored))
    parts = [value for part in record.values() for value in part.values() if isinstance(value, Parts)]
    return {one for value in parts for one in value.hashes}


def contents_of(run: Run, first: int) -> set[str]:
    """The pieces that the run's checkpoints from ``first`` on are made of."""
    rows = run.checkpoints.filter(seq__gte=first).values_list("delta", "keyframe")
    return {one for row in rows for stored in row if stored is not None for one in pieces_of(bytes(stored))}


def first_kept(run: Run) -> int:
    """The keyframe from which the last state is read: it, and everything after it, is never pruned."""
    rows = run.checkpoints.filter(keyframe__isnull=False).order_by("-seq").values_list("seq", flat=True)
    return rows.first() or 0


class Walk:
    """The state of a walk: what the next entry has to follow from."""

    def __init__(self, run: Run) -> None:
        self.report = Report(run.pk)
        self.first_kept = None if run.pruned_at is None else first_kept(run)
        self.digest = b""
        self.expected = 0

    def read(self, rows: list[Any]) -> None:
        """The next entries, in order."""
        wanted: dict[str, int] = {}
        for row in rows:
            self._read_one(row, wanted)
        found = contents.fetch(self.report.run_id, wanted)
        for one in wanted.keys() - found.keys():
            self._broken(wanted[one], f"a piece of its values is gone, or altered: {one}")

    def end(self, seq: int, head: bytes | None) -> None:
        """After the last entry, which must be ``seq`` and have the digest ``head``."""
        if self.expected <= seq:
            self._broken(self.expected, "the entry is gone" + (f", as are all to {seq}" if seq > self.expected else ""))
        elif head is not None and self.digest != head:
            self._broken(seq, "the last digest is not the run's")
        self.report.breaks.sort(key=lambda one: one.seq)

    def _read_one(self, columns: Any, wanted: dict[str, int]) -> None:
        row, (kind, by, detail) = store.Row(columns), columns[14:]
        self.report.entries += 1
        self.report.checkpoints += row.is_checkpoint
        if row.seq != self.expected:
            self._broken(self.expected, "the entry is gone")
        elif not row.follows(self.digest):
            self._broken(row.seq, "its digest does not follow from the entries before it")
        self.digest, self.expected = row.digest, row.seq + 1  # what comes after is judged by what is stored
        if (row.columns["delta"] if row.is_checkpoint else detail) is None:
            self._read_pruned(row, kind)
        elif row.is_checkpoint:
            self._read_checkpoint(row, wanted)
        elif journal.event_hash(kind, columns[3], columns[5], by, detail) != row.content_hash:
            self._broken(row.seq, "its content does not match its hash")

    def _read_pruned(self, row: store.Row, kind: str | None) -> None:
        """Only what a workflow's retention removes may be gone."""
        self.report.pruned += 1
        if self.first_kept is None or (row.seq >= self.first_kept if row.is_checkpoint else kind in LASTING):
            self._broken(row.seq, "what it said is gone, and its workflow's retention did not remove it")

    def _read_checkpoint(self, row: store.Row, wanted: dict[str, int]) -> None:
        if not row.is_as_written():
            self._broken(row.seq, "its content does not match its hash")
            return
        for stored in (row.columns["delta"], row.columns["keyframe"]):
            if stored is not None:
                wanted.update({one: row.seq for one in pieces_of(stored) if one not in wanted})

    def _broken(self, seq: int, why: str) -> None:
        self.report.breaks.append(Break(seq, why))
