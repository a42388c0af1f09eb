"""Play a workflow in a plain test function: in this process, without a database, with people and failures scripted.

    def test_a_large_refund_is_paid_once():
        played = play(refund, {"order": "A-1", "amount": 400},
                      decide={"manager": approve(amount=380)}, fail={"pay": [lost_reply()]})
        assert played.status == "succeeded"
        assert played.steps == ["assess", "manager", "pay"]
        assert played.state.amount == 380

Steps, gates, retries, reducers, ``verify`` and ``approved_by`` mean what they mean in the engine; nothing waits: retries,
``settle``, sleeps and timeouts take no time, and branches run one after the other. A gate without a scripted decision leaves
the run ``waiting``.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from workflows.definition import Workflow
from workflows.migrating import upgraded
from workflows.state import State
from workflows.testing.parts import Signals
from workflows.testing.player import Player
from workflows.testing.script import (
    Decide,
    Fail,
    Played,
    approve,
    crash,
    done_by_hand,
    happened,
    lost_reply,
    not_happened,
    reject,
    respond,
    retry,
)

__all__ = [
    "Played",
    "approve",
    "crash",
    "done_by_hand",
    "happened",
    "lost_reply",
    "not_happened",
    "play",
    "reject",
    "respond",
    "retry",
    "upgraded",
]
S = TypeVar("S", bound=State)


def play(
    workflow: Workflow[S], input: Mapping[str, Any], *, decide: Decide | None = None, fail: Fail | None = None,
    signals: Signals | None = None,
) -> Played[S]:  # fmt: skip
    """Carry a run on from its input until it ends or waits.

    ``decide`` gives the answers of each gate (by its name, or an Ask's key), one for every time it opens. ``fail`` gives what
    befalls a step's attempts in turn: an exception raised in its place, ``lost_reply()``, ``crash()``, or None for nothing.
    ``signals`` gives by name the payloads that come in turn; a ``Wait`` without one runs into its timeout.
    Raises StateInvalid for an input that the schema refuses.
    """
    return Player(workflow, input, decide or {}, fail or {}, signals or {}).go()
