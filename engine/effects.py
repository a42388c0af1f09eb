"""Effects: an attempt that may have acted is verified before the effect is ever tried again."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from approvals.models import Gate, GateKind, GateStatus, Verdict
from approvals.services.opening import Question
from engine.attempt import call
from engine.claim import Claimed
from engine.context import RunCtx
from runs.clock import database_now, iso
from runs.models import Event, Kind
from workflows import Happened, NotHappened, Partly, State, Unknown, codec, masking
from workflows import state as states
from workflows.attempts import Failure
from workflows.policy import Policy
from workflows.steps import Gate as GateStep
from workflows.steps import Step

Answer = Happened | NotHappened | Partly | Unknown


@dataclass(frozen=True)
class Asked:
    """One question to ``verify`` and its answer. ``wait``: seconds until NotHappened may be believed."""

    answer: Answer
    wait: float = 0.0
    secrets: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        return codec.clean(masking.scrubbed(str(self.answer.reason), self.secrets)) if isinstance(self.answer, Unknown) else ""

    def as_json(self, key: str, visit: int) -> dict[str, Any]:
        name = {"Happened": "happened", "NotHappened": "not happened", "Partly": "partly", "Unknown": "unknown"}
        return {
            "answer": name[type(self.answer).__name__],
            "reason": self.reason,
            "key": key,
            "visit": visit,
            "asked_again_in": round(self.wait, 3),
        }


def ask_verify(step: Step, state: State, run: Claimed, ctx: RunCtx) -> Asked | None:
    """Ask the effect's ``verify``. One that raises, hangs or returns something else is Unknown. None: cut short."""
    if step.verify is None:
        return Asked(Unknown("the effect has no verify"))
    value = call(step.verify, (state, ctx, *ctx.given), step.timeout, step)
    if isinstance(value, Failure) and value.cut:
        return None
    if isinstance(value, Failure):
        return Asked(Unknown(f"verify failed: {value.type}: {value.message}"), secrets=run.secrets)
    if not isinstance(value, (Happened, NotHappened, Partly, Unknown)):
        return Asked(Unknown(f"verify returned {type(value).__name__}"))
    if isinstance(value, (NotHappened, Partly)) and run.doubt_at is not None:
        believed_at = run.doubt_at + timedelta(seconds=step.settle)
        return Asked(value, max(0.0, (believed_at - database_now()).total_seconds()), run.secrets)
    return Asked(value, secrets=run.secrets)


def outcome_question(run: Claimed, step: Step, state: State, values: dict[str, Any]) -> Question:
    """The gate that asks an operator whether the effect happened, with all that Holdfast knows of it."""
    given = {name: values[name] for name in (values if step.needs is None else step.needs)}
    events = Event.objects.filter(run_id=run.id, step=step.name)
    if run.part is not None:
        events = events.filter(detail__regex=f'"branch":{run.part.index}[,}}]')
    answers = [event.as_entry() for event in events.filter(kind=Kind.VERIFIED).order_by("seq")]
    last = events.filter(kind__in=(Kind.ATTEMPT_FAILED, Kind.WORKER_LOST)).order_by("-seq").first()
    return Question(
        key=f"{step.name}:outcome",
        kind=GateKind.OUTCOME,
        title=f"Did “{step.name}” happen?",
        summary="",
        context=masking.scrubbed(
            {
                "why": run.doubt_reason.rstrip("."),
                "began_at": iso(last.started_at) if last is not None else None,
                "last_acted_at": iso(run.doubt_at),
                "key": run.key,
                **({"branch": run.part.index, "arg": run.part.arg} if run.part else {}),
                "given": masking.masked(type(state), given),
                "noted": run.saved,
                "answers": [_answer(entry) for entry in answers if entry["detail"].get("visit") == run.visit],
            },
            run.secrets,
        ),
        policy={**Policy(approvers=["role:operator", "role:admin"], on_timeout="keep").as_json()},
        verdicts=[Verdict.HAPPENED, Verdict.NOT_HAPPENED, Verdict.FAIL],
        merges=False,
    )


def _answer(entry: dict[str, Any]) -> dict[str, Any]:
    return {"at": entry["at"], "answer": entry["detail"]["answer"], "reason": entry["detail"]["reason"]}


def approved(gate_step: GateStep, state: State, values: dict[str, Any], run: Claimed, ctx: RunCtx) -> bool | Failure:
    """Whether the effect is allowed with the state as it now is.

    The gate's latest decision must approve, with the fields that the state now has. Only where the gate was never
    decided does its ``when`` count: a later flip of ``when`` must not let a rejected action run.
    """
    gate = (
        Gate.objects.filter(run_id=run.id, step=gate_step.name, status=GateStatus.DECIDED, kind=GateKind.APPROVAL)
        .order_by("-visit", "-opened_at", "-ordinal")
        .first()
    )
    if gate is None:
        if gate_step.when is None:
            return False
        needed = call(gate_step.when, (state, ctx), gate_step.timeout, gate_step)
        return needed if isinstance(needed, Failure) else not needed
    if gate.outcome_verdict not in (Verdict.APPROVE, Verdict.EDIT):
        return False
    args = (gate.action or {}).get("args", {})
    return states.agrees(type(state), args, values)
