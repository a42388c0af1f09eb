"""What an author imports. Pure Python: this package knows nothing of databases, queues or pages."""

from workflows.actions import Action, Proposal
from workflows.answers import Ask, End, FanOut, Goto, Happened, NotHappened, Partly, Send, Sleep, Unknown, Wait
from workflows.context import Branch, Ctx, Decision
from workflows.definition import Workflow
from workflows.errors import Ambiguous, Permanent, RegistrationError, Transient
from workflows.hours import WorkingHours
from workflows.masking import Secret
from workflows.policy import Policy, escalate
from workflows.retry import Retry
from workflows.state import Add, Append, Merge, Replace, State
from workflows.steps import Gate, Step

__all__ = [
    "Action",
    "Add",
    "Ambiguous",
    "Append",
    "Ask",
    "Branch",
    "Ctx",
    "Decision",
    "End",
    "FanOut",
    "Gate",
    "Goto",
    "Happened",
    "Merge",
    "NotHappened",
    "Partly",
    "Permanent",
    "Policy",
    "Proposal",
    "RegistrationError",
    "Replace",
    "Retry",
    "Secret",
    "Send",
    "Sleep",
    "State",
    "Step",
    "Transient",
    "Unknown",
    "Wait",
    "Workflow",
    "WorkingHours",
    "escalate",
]
