"""Branches, pauses and roll back in a played run. The functions mirror engine/fanning.py, pausing.py and undoing.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workflows import joining
from workflows import state as states
from workflows.answers import FanOut, Happened, NotHappened, Partly, Sleep, Wait
from workflows.attempts import Failure, failure
from workflows.context import Branch
from workflows.keys import undo_key
from workflows.state import State, StateInvalid
from workflows.steps import Step

if TYPE_CHECKING:
    from workflows.testing.player import Player


Signals = Mapping[str, Sequence[Any]]  # by name, the payloads that come in turn


@dataclass(frozen=True)
class Done:
    """An effect that has happened: what its compensation is called with."""

    step: Step
    key: str
    state: State
    given: tuple[Any, ...]


def pause(player: "Player[Any]", what: Sleep | Wait, step: Step) -> None:
    """Nothing waits here: a sleep is over at once, a signal is the next one scripted, and without one its time is over."""
    if isinstance(what, Sleep):
        player.leave(what.goto or "next", step)
    elif player.signals.get(what.name):
        player.next_signal = player.signals[what.name].pop(0)
        player.leave(what.goto or "next", step)
    elif what.timeout is None:
        player.played.waiting.append(what.name)
        player.played.status = "queued"
    elif what.on_timeout is not None:
        player.leave(what.on_timeout, step)
    else:
        text = f"no signal “{what.name}” came in time"
        player.end("failed", Failure("WaitTimedOut", text, "", retryable=False))


def fan_out(player: "Player[Any]", sent: FanOut, step: Step) -> None:
    """One branch after the other, then the join."""
    from workflows.testing.branch import BranchPlayer

    unknown = [send.step for send in sent.sends if send.step not in player.workflow.branches]
    if unknown:
        return player.end("failed", Failure("LookupError", f"Send({unknown[0]!r}): no such branch step", "", retryable=False))
    played = [BranchPlayer(player, index, send) for index, send in enumerate(sent.sends)]
    for branch in played:
        status = branch.go().status
        player.played.cost_usd += branch.played.cost_usd
        if sent.on_failure == "fail" and status == "failed" and branch.played.error is not None:
            error = branch.played.error
            return player.end("failed", replace(error, message=f"branch {branch.index}: {error.message}"))
        if sent.on_failure == "fail" and status == "rejected":
            player.played.status = "rejected"
            return None
    if unfinished := [branch for branch in played if branch.played.status in ("waiting", "queued")]:
        player.played.status = "waiting" if all(one.played.status == "waiting" for one in unfinished) else "running"
        player.is_stuck = True
        return None
    return _join(player, played, step)


def _join(player: "Player[Any]", played: list[Any], step: Step) -> None:
    done = [branch for branch in played if branch.played.status == "succeeded"]
    part = player.workflow.branches[played[0].first]
    try:
        updates = joining.joined(player.state, [(branch.index, branch.parts) for branch in done])
    except StateInvalid as error:
        return player.end("failed", failure(error, part))
    if player.apply(updates, part):
        player.next_branches = [_as_joined(branch) for branch in played]
        player.leave("next", step)
    return None


def _as_joined(branch: Any) -> Branch:
    error = branch.played.error.message if branch.played.error is not None else None
    return Branch(branch.index, branch.given[0], branch.played.status == "succeeded", error)


def roll_back(player: "Player[Any]") -> None:
    """Undo what has happened, the last effect first."""
    player.played.status = "rolling_back"
    if player.doubt and player.step != "end" and not _look(player):
        return
    for done in reversed(player.effects.values()):
        if done.step.compensate is not None and not _undo(player, done):
            return
    player.played.status = "rolled_back"


def _look(player: "Player[Any]") -> bool:
    step = player.workflow.steps[player.step]
    ctx = player.context()
    answer = player.verify(step, ctx)
    if isinstance(answer, (Happened, Partly)):
        state = states.apply(player.state, player.values, answer.updates).state
        player.effects[ctx.idempotency_key] = Done(step, ctx.idempotency_key, state, ())
    return isinstance(answer, (Happened, Partly, NotHappened)) or _asked(player, step) is not None


def _undo(player: "Player[Any]", done: Done) -> bool:
    assert done.step.compensate is not None
    while True:
        for _ in range(done.step.retry.attempts):
            ctx = player.context()
            ctx.step, ctx.effect_key, ctx.idempotency_key = done.step.name, done.key, undo_key(done.key)
            value = player.call(done.step, done.step.compensate, (done.state, ctx, *done.given), faulty=False)
            if not isinstance(value, Failure):
                player.played.undone.append(done.step.name)
                return True
            if value.type == "Permanent":
                break
        verdict = _asked(player, done.step)
        if verdict != "retry":
            return verdict is not None


def _asked(player: "Player[Any]", step: Step) -> str | None:
    """What a person says at the undo gate; None: nobody does, or the roll back ends there."""
    answer = player.answer(f"{step.name}:undo", f"Undoing “{step.name}” did not succeed")
    if answer is not None and answer.verdict == "fail":
        player.end("failed", Failure("NotUndone", answer.comment, "", retryable=False))
        return None
    return None if answer is None else answer.verdict
