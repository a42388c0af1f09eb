"""The ``ctx`` that a step is given."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.db.models import F, Q

from approvals.models import Decision as DecisionRow
from approvals.models import Gate, GateStatus
from engine import boundary
from engine.boundary import Used
from engine.claim import Claimed
from runs import lineage, poke
from runs.models import Branch as BranchRow
from runs.models import Signal
from runs.moves import BranchStatus
from workflows import Branch, Ctx, Decision, codec, masking
from workflows.context import checked_level, checked_saved, checked_usage

LOG_LINES = 1000


class RunCtx(Ctx):
    """Collects what the step logs and uses; both are committed with its boundary."""

    outcome = "put back"  # what became of the attempt, for the logs: done, failed, waits, put back

    def __init__(self, run: Claimed, *, key: str | None = None, effect_key: str | None = None) -> None:
        self._run, self._key = run, key
        self.run_id = str(run.id)
        self.step = run.step
        self.attempt = run.attempt
        self.effect_key = effect_key
        self.saved = run.saved
        self.given = () if run.part is None else (run.part.arg,)
        self.used = Used()
        self.lines: list[dict[str, Any]] = []

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts of the state, which nothing that people see may repeat."""
        return self._run.secrets

    @cached_property
    def idempotency_key(self) -> str:  # type: ignore[override]
        return self._key or self._run.key

    @cached_property
    def _decided(self) -> list[tuple[Gate, Decision]]:
        return decided(self._run.id, self._branch)

    @property
    def _branch(self) -> int | None:
        return None if self._run.part is None else self._run.part.pk

    @cached_property
    def decision(self) -> Decision | None:  # type: ignore[override]
        here = [(gate, found) for gate, found in self._decided if gate.branch_id == self._branch]
        before = [found for gate, found in here if gate.visit == self._run.visit - 1]
        return before[-1] if before else None

    @cached_property
    def signal(self) -> Any:
        """The payload that ended the Wait directly before this step."""
        mine = Q(branch=None) if self._branch is None else Q(branch=self._branch)
        found = Signal.objects.filter(mine, run_id=self._run.id, visit=self._run.visit).first()
        return None if found is None else found.payload

    @cached_property
    def branches(self) -> Sequence[Branch]:  # type: ignore[override]
        """The finished branches of the fan-out that this step joins."""
        rows = BranchRow.objects.filter(self._joined(), fan_out__join_visit=self._run.visit).order_by("index")
        found = rows.values_list("index", "arg", "status", "error__message")
        return [Branch(index, arg, status == BranchStatus.SUCCEEDED, error) for index, arg, status, error in found]

    def _joined(self) -> Q:
        """The run's own, or where it is a fork that begins at the join: those of the run in which they were sent."""
        found = Q(run_id=self._run.id)
        for one in lineage.above(self._run.id) if self._run.forked_from else ():
            found |= Q(run_id=one.forked_from, fan_out__seq__lte=one.at_seq) if one.forked_from else Q()
        return found

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:  # type: ignore[override]
        return {gate.key: found for gate, found in self._decided}

    def progress(self, fraction: float, message: str = "") -> None:
        poke.progress(self.run_id, self.step, min(1.0, max(0.0, float(fraction))), self._clean(message))

    def stream(self, text: str) -> None:
        poke.stream(self.run_id, self._clean(text))

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        checked_level(level)
        if len(self.lines) < LOG_LINES:
            at = datetime.now(UTC).isoformat()
            kept = codec.loads(codec.dumps(fields))  # as it is now, whatever the step does with it later
            kept = masking.scrubbed(kept, self.secrets)
            line = {"at": at, "level": level, "message": self._clean(message)[:10_000], "fields": kept}
            self.lines.append(line)

    def _clean(self, text: object) -> str:
        """As it can be stored, without the state's secrets."""
        return codec.clean(masking.scrubbed(str(text), self.secrets))

    def usage(self, *, model: str = "", input_tokens: int = 0, output_tokens: int = 0, cost_usd: float | str = 0) -> None:
        read, written, cost = checked_usage(input_tokens, output_tokens, cost_usd)
        model = codec.clean(str(model))[:200]
        models = self.used.models if not model or model in self.used.models else (*self.used.models, model)
        self.used = Used(
            self.used.input_tokens + read,
            self.used.output_tokens + written,
            self.used.cost_usd + cost,
            models,
        )

    def save(self, value: Any) -> None:
        checked_saved(value)
        if masking.holds_secret(value, self.secrets):
            raise ValueError("ctx.save keeps a value as it is; it cannot hold a secret of the state")
        boundary.save(self._run, value)
        self.saved = value

    def hide(self, texts: tuple[str, ...]) -> None:
        """Mask what the step has logged of a secret that it has just obtained."""
        self.lines = masking.scrubbed(self.lines, texts)

    def logs(self) -> str | None:
        return codec.dumps(self.lines).decode() if self.lines else None


def decided(run_id: uuid.UUID, branch: int | None = None) -> list[tuple[Gate, Decision]]:
    """The run's settled gates with the decision that settled each, oldest first; a branch's own come after its run's."""
    mine = Q(branch=None) if branch is None else Q(branch=None) | Q(branch=branch)
    gates = Gate.objects.filter(mine, run_id=run_id, status=GateStatus.DECIDED)
    gates = gates.order_by(F("branch").asc(nulls_first=True), "visit", "opened_at", "ordinal")
    return [(gate, _decision(gate)) for gate in gates.prefetch_related("decisions")]


def _decision(gate: Gate) -> Decision:
    rows: list[DecisionRow] = [row for row in gate.decisions.all() if row.stands]
    last = rows[-1]
    action = (gate.action or {}).get("args")
    return Decision(gate.outcome_verdict, last.by_name, last.comment, action, last.at)
