"""Where a process can be made to die: before or after a function that matters, at its n-th call."""

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

# name: (module, attribute, "before" or "after" it)
POINTS = {
    "before the claim": ("engine.claim", "take_hinted", "before"),
    "after the claim": ("engine.claim", "take_hinted", "after"),
    "before the step": ("engine.attempt", "run_step", "before"),
    "after the request, reply lost": ("demo.client", "call", "after"),
    "before a request": ("demo.client", "call", "before"),
    "after the step, before its commit": ("engine.boundary", "commit", "before"),
    "after the commit": ("engine.boundary", "commit", "after"),
    "after ctx.save": ("engine.boundary", "save", "after"),
    "while opening the gate": ("engine.stretch", "open_gates", "after"),
    "in verify": ("engine.effects", "ask_verify", "before"),
    "after verify, before it is noted": ("engine.effects", "ask_verify", "after"),
    "while a failure is written": ("engine.endings", "spend", "after"),
    "while a run is started": ("checkpoints.store", "write", "after"),
    "in the decision": ("approvals.services.outcome", "resume", "after"),
    "after the decision, before the bell": ("runs.bell", "ring", "before"),
    "as a page's decision is put off": ("approvals.services.outcome", "_put_off", "after"),
    "before a decision is carried out": ("engine.decided", "_carried_out", "before"),
    "while a decision is carried out": ("approvals.services.outcome", "carry_out", "after"),
    "after a decision is carried out": ("engine.decided", "_carried_out", "after"),
    "in the takeover": ("runs.services.moves", "move", "after"),
    "while branches are sent": ("engine.fanning", "_insert", "after"),
    "after a branch's step, before its commit": ("engine.branches", "BranchStretch._finish", "before"),
    "after a branch's commit, which took the next": ("engine.branches", "BranchStretch._finish", "after"),
    "while the run comes to its join": ("engine.services.settling", "tell", "after"),
    "while it goes to sleep": ("engine.pausing", "_sleep", "after"),
    "before an effect is undone": ("engine.undoing", "Undoing._begin", "after"),
    "after an effect is undone, before that is noted": ("engine.undoing", "Undoing._undone", "before"),
    "after it is noted": ("engine.undoing", "Undoing._undone", "after"),
    "as the roll back ends": ("engine.undoing", "Undoing._finish_undoing", "before"),
    "while a notice is handed on": ("approvals.notifying.handing_on", "deliveries", "after"),
    "before a message is sent": ("approvals.notifying.delivering", "send_once", "before"),
    "after a message is sent, before it is noted": ("approvals.notifying.delivering", "send_once", "after"),
    "after a message is noted": ("approvals.notifying.delivering", "_note", "after"),
    "in the sweep, as the clock decides": ("approvals.services.clock", "decide_as_policy", "after"),
}


def arm(point: str, nth: int) -> None:
    """From now on this process dies by SIGKILL at the ``nth`` passage of the point."""
    module_name, attribute, when = POINTS[point]
    place: Any = importlib.import_module(module_name)
    *classes, name = attribute.split(".")
    for inner in classes:
        place = getattr(place, inner)
    setattr(place, name, _dying(getattr(place, name), when, nth))


def _dying(function: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    left = [nth]

    def call(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = function(*args, **options)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    return call
