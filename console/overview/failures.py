"""Runs that failed lately, those of one cause together: the same workflow, step and error."""

from dataclasses import dataclass
from datetime import datetime

from runs import hot
from runs.query import Term, text_of

MOST = 12  # groups

# Numbers and ids in a message tell runs apart, not causes.
_GROUPS = f"""
SELECT workflow, error->>'step', error->>'type',
       regexp_replace(left(error->>'message', 160), '[0-9a-f]{{4,}}[0-9a-f-]*|[0-9]+', '…', 'g') AS like_this,
       count(*), min(finished_at), max(finished_at), (array_agg(error->>'message' ORDER BY finished_at DESC))[1]
FROM runs_run WHERE status = 'failed' AND finished_at >= %(since)s
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 7 DESC LIMIT {MOST}
"""


@dataclass(frozen=True)
class Failures:
    """``message`` is that of the last of them."""

    workflow: str
    step: str
    error: str
    count: int
    first: datetime
    last: datetime
    message: str
    since: datetime

    @property
    def query(self) -> str:
        terms = [Term("status", "failed"), Term("workflow", self.workflow), Term("step", self.step), Term("error", self.error)]
        return f"{text_of([term for term in terms if term.value])} finished:>{self.since:%Y-%m-%dT%H:%M}"


def grouped(since: datetime) -> list[Failures]:
    """The most frequent first."""
    rows = hot.rows(_GROUPS, {"since": since})
    return [
        Failures(workflow, step or "", error or "", count, first, last, message or "", since)
        for workflow, step, error, _, count, first, last, message in rows
    ]
