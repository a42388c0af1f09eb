"""Reading a run's journal into the rows of its timeline, in the same way for a page and for each message that follows."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from console.run_page.rows import PEOPLE, Bar, Row
from runs import reading
from runs.models import Kind, Run
from runs.moves import Status
from workflows.steps import Gate, Step

NOTICED = 50.0  # ms: a shorter wait is no wait
LIMIT = 300  # entries before those that are shown, back to where their rows begin; of more, the first and the last are read
OF_THE_RUN = frozenset(
    {Kind.HELD, Kind.RELEASED, Kind.CANCELLED, Kind.RETRIED, Kind.FORKED, Kind.ENDED, Kind.NOTE, Kind.SIGNAL}
)
GOES_ON = frozenset({Kind.RELEASED, Kind.RETRIED, Kind.DECIDED, Kind.SIGNAL})  # from then on it waits for a worker


class Waterfall:
    """Reads entries in their order; ``rows`` are in the order of their first entry."""

    def __init__(self, run: Run, steps: Mapping[str, Step], *, free_at: float | None = None, gaps: bool = False) -> None:
        self.run, self.steps = run, steps
        self.gaps = gaps  # only some entries are read: an attempt that is not later than the last is another visit's
        self.rows: list[Row] = []
        self.free_at = free_at  # since when the run could have been taken by a worker
        self.open: Row | None = None
        self.sent: Row | None = None  # the fan-out that is under way
        self.held: Row | None = None
        self.parts: frozenset[str] = frozenset()
        self.seq = -1  # of the entry that is read

    def read(self, entries: Iterable[Mapping[str, Any]]) -> "Waterfall":
        for entry in entries:
            self._read(dict(entry))
        return self

    def finish(self) -> "Waterfall":
        """Show what the run is at."""
        if not self.run.is_final:
            self._pending()
        return self

    def _read(self, entry: dict[str, Any]) -> None:
        kind, detail, self.seq = entry["kind"], entry["detail"], entry["seq"]
        at = self._ms(entry["at"])
        if kind == Kind.FAN_OUT:
            self._fan_out(entry, at)
        elif self.sent is not None and (kind == Kind.BRANCH or detail.get("branch") is not None):
            self.sent.add(entry)
            self._spend(self.sent, entry)
        elif kind == Kind.CHECKPOINT:
            self._checkpoint(entry, at)
        elif kind in PEOPLE:
            self._people(entry, at)
        elif kind in OF_THE_RUN:
            self._point(entry, at)
        elif kind == Kind.COMPENSATED:
            row = self._row(entry, f"undo {entry['step']}")
            self._work(row, entry, "undo", at)
            self._close(row, "done")
        else:
            self._attempt(entry, at)
        if kind in GOES_ON:
            self.free_at = at

    def _fan_out(self, entry: dict[str, Any], at: float) -> None:
        self.parts = frozenset(entry["detail"].get("branches") or ())
        row = Row(entry["seq"], " and ".join(sorted(self.parts)), "branch", bars=[Bar("branches", at, None)], entries=[entry])
        self.rows.append(row)
        self.sent = row

    def _checkpoint(self, entry: dict[str, Any], at: float) -> None:
        if self.sent is not None and entry["step"] in self.parts:
            row, self.sent = self.sent, None
            row.add(entry)
            self._cut(row, self._ms(entry["started_at"]) if entry.get("started_at") else at)
            self._close(row, "done")
        else:
            row = self._row(entry)
            self._cut(row, at)
            if entry.get("started_at"):
                self._work(row, entry, "work", at)
            self._spend(row, entry)
            self._close(row, "done" if entry["step"] else "point")
        self.free_at = at

    def _people(self, entry: dict[str, Any], at: float) -> None:
        row = self._row(entry)
        if entry["kind"] in (Kind.GATE_OPENED, Kind.GATE_REOPENED) and not (row.bars and row.bars[-1].kind == "people"):
            self._cut(row, at)
            row.bars.append(Bar("people", at, None))
        elif entry["kind"] == Kind.DECIDED and entry["detail"].get("final"):
            self._cut(row, at)
        elif entry["kind"] == Kind.GATE_WITHDRAWN:
            self._cut(row, at)
            self._close(row, "done")

    def _point(self, entry: dict[str, Any], at: float) -> None:
        """What was done to the run as a whole. It interrupts the step's row, which may go on after it."""
        if entry["kind"] == Kind.RELEASED and self.held is not None:
            row = self.held
            row.add(entry)
            self._cut(row, at)
            self._close(row, "done")
            return
        held, failed = entry["kind"] == Kind.HELD, entry["detail"].get("status") == Status.FAILED
        if entry["kind"] == Kind.ENDED:
            for open_row in [row for row in self.rows if row.state == "open"]:
                self._cut(open_row, at)
                self._close(open_row, "failed" if failed and open_row.kind != "held" else "done")
        row = Row(entry["seq"], "run", "held" if held else "run", "open" if held else "point", entries=[entry])
        row.bars.append(Bar("held", at, None) if held else Bar("point", at, at))
        self.rows.append(row)
        self.held = row if held else self.held
        if not held:
            self._close(row, "failed" if entry["kind"] == Kind.ENDED and failed else "point")

    def _attempt(self, entry: dict[str, Any], at: float) -> None:
        """A failed attempt, a lost worker, a sleep, or what was looked up: the step is not done."""
        row = self._row(entry)
        kinds = {Kind.ATTEMPT_FAILED: "failed", Kind.WORKER_LOST: "lost"}
        if entry["kind"] in kinds:
            self._work(row, entry, "doubt" if entry["detail"].get("in_doubt") else kinds[entry["kind"]], at)
            self._spend(row, entry)
        elif entry["kind"] == Kind.SLEPT:
            row.bars.append(Bar("sleep", at, None))
        self.free_at = at

    def _row(self, entry: Mapping[str, Any], step: str = "") -> Row:
        """The row of the entry's step: the open one, or a new one."""
        name = step or entry["step"] or ("input" if entry["seq"] == 0 else "by hand")
        if (
            self.gaps
            and self.open is not None
            and entry["kind"] == Kind.ATTEMPT_FAILED
            and self._tries(self.open) >= entry["attempt"]
        ):
            self._close(self.open, "failed")
        if self.open is None or self.open.step != name:
            if self.open is not None:
                self._cut(self.open, self._ms(entry["at"]))
                self._close(
                    self.open, "failed" if self.open.bars and self.open.bars[-1].kind in ("failed", "doubt", "lost") else "done"
                )
            self.open = Row(entry["seq"], name, self._kind(name))
            self.rows.append(self.open)
        self.open.add(dict(entry))
        return self.open

    def _tries(self, row: Row) -> int:
        return max((one["attempt"] or 0 for one in row.entries if one["kind"] == Kind.ATTEMPT_FAILED), default=0)

    def _kind(self, name: str) -> str:
        step = self.steps.get(name)
        return "gate" if isinstance(step, Gate) else "effect" if step is not None and step.is_effect else "step"

    def _work(self, row: Row, entry: Mapping[str, Any], kind: str, at: float) -> None:
        start = self._ms(entry["started_at"]) if entry.get("started_at") else at
        self._cut(row, start)
        if self.free_at is not None and start - self.free_at > NOTICED and not (row.bars and row.bars[-1].kind == "sleep"):
            tries_again = bool(row.bars) and row.bars[-1].kind in ("failed", "doubt")
            row.bars.append(
                Bar("sleep", self.free_at, start, "waited to try again") if tries_again else Bar("queue", self.free_at, start)
            )
        error = entry["detail"].get("error") or {}
        row.bars.append(Bar(kind, start, at, f"attempt {entry['attempt']}" + (f": {error['type']}" if error else "")))

    def _spend(self, row: Row, entry: Mapping[str, Any]) -> None:
        usage = entry["detail"].get("usage") or {}
        row.cost += float(usage.get("cost_usd") or 0)

    def _cut(self, row: Row, at: float | None) -> None:
        """What lasted until now ends."""
        if row.bars and row.bars[-1].end is None:
            row.bars[-1].end = at

    def _close(self, row: Row, state: str) -> None:
        row.state, row.closed = state, self.seq
        if self.open is row:
            self.open = None
        if self.sent is row:
            self.sent = None
        if self.held is row:
            self.held = None

    def _pending(self) -> None:
        run = self.run
        held = run.status == Status.HELD
        if held or self.sent is not None or run.is_fanned_out or run.step == "end":
            return
        row = self.open
        if row is None or row.step != run.step:
            row = Row(run.seq + 1, f"undo {run.step}" if run.rolls_back else run.step, self._kind(run.step))
            self.rows.append(row)
        if run.step_started_at is not None:
            start = self._ms(run.step_started_at)
            self._cut(row, start)
            if self.free_at is not None and start - self.free_at > NOTICED and not row.bars:
                row.bars.append(Bar("queue", self.free_at, start))
            row.bars.append(Bar("undo" if run.rolls_back else "work", start, None, f"attempt {run.attempt}"))
        elif not row.bars or row.bars[-1].end is not None:
            since = self.free_at if self.free_at is not None else self._ms(run.updated_at)
            kind, why = self._waits()
            row.bars.append(Bar(kind, since, None, why))

    def _waits(self) -> tuple[str, str]:
        """For what it waits, as a bar's kind and words."""
        if self.run.status == Status.WAITING:
            return "people", ""
        if self.run.signal_name:
            return "sleep", f"waits for the signal “{self.run.signal_name}”"
        if self.run.is_put_off and not (self.run.pause and self.run.pause["kind"] == "sleep"):
            return "sleep", "waits to try again"
        return "sleep" if self.run.is_put_off else "queue", ""

    def _ms(self, at: datetime | str | None) -> float:
        when = datetime.fromisoformat(at) if isinstance(at, str) else at
        return 0.0 if when is None else (when - self.run.created_at).total_seconds() * 1000


def rows_of(run: Run, entries: list[dict[str, Any]], steps: Mapping[str, Step]) -> list[Row]:
    """The rows that these consecutive entries belong to, whole: those that began before are read from their beginning.

    ``run`` is as it was when the entries were read. What it is at is among the rows when they lead up to its ``seq``.
    """
    first = entries[0]["seq"] if entries else run.seq + 1
    before = _since_boundary(run, first)
    found = Waterfall(run, steps, free_at=0.0 if not before and first == 0 else None).read([*before, *entries])
    if not entries or entries[-1]["seq"] == run.seq:
        found.finish()
    return [row for row in found.rows if row.state == "open" or row.closed >= first]


def _since_boundary(run: Run, seq: int) -> list[dict[str, Any]]:
    """The entries before ``seq``, back to the last checkpoint of a step before it, or before the hold that lasts: what is
    open is among them. A change by hand comes between a hold and its release.
    """
    if seq <= 0:
        return []
    holds = run.events.filter(seq__lt=seq, kind__in=(Kind.HELD, Kind.RELEASED)).order_by("-seq").values_list("seq", "kind")[:1]
    from_hold = min((held for held, kind in holds if kind == Kind.HELD), default=seq)  # decisions go on during a hold
    kept = run.checkpoints.filter(seq__lt=from_hold).exclude(step="").order_by("-seq").values_list("seq", flat=True)[:1]
    start = next(iter(kept), 0)
    found = reading.journal(run, after=start - 1, before=seq, limit=LIMIT)
    if len(found) < LIMIT:
        return found
    last = reading.journal(run, before=seq, newest_first=True, limit=LIMIT)[::-1]  # of a wide fan-out: its beginning is enough
    return [*found, *(entry for entry in last if entry["seq"] > found[-1]["seq"])]
