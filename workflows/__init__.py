"""What an author imports. Pure Python: this package knows nothing of databases, queues or pages."""

from workflows.actions import Action, Proposal
from workflows.answers import Ask, End, Goto, Happened, NotHappened, Partly, Unknown
from workflows.context import Branch, Ctx, Decision
from workflows.definition import Gate, Step, Workflow
from workflows.errors import Ambiguous, Permanent, RegistrationError, Transient
from workflows.policy import Policy, escalate
from workflows.retry import Retry
from workflows.state import Add, Append, Merge, Replace, Secret, State

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
    "State",
    "Step",
    "Transient",
    "Unknown",
    "Workflow",
    "escalate",
]
