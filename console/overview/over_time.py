"""What the runs did over time: how many ended and how, how long they took, what they cost."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse

from console.overview import charts
from console.overview.charts import Chart
from console.overview.spans import Span
from runs import hot
from runs.clock import database_now
from runs.moves import Status

_ENDED = """
SELECT date_bin(%(width)s * interval '1 s', finished_at, timestamptz 'epoch'), status, count(*) FROM runs_run
WHERE finished_at >= %(since)s GROUP BY 1, 2
"""
_TOOK = """
SELECT date_bin(%(width)s * interval '1 s', finished_at, timestamptz 'epoch'),
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8)
FROM runs_run WHERE finished_at >= %(since)s AND status = 'succeeded' GROUP BY 1
"""
_SPENT = """
SELECT date_bin(%(width)s * interval '1 s', created_at, timestamptz 'epoch'), workflow,
       sum(cost_usd)::float8, sum(input_tokens + output_tokens)::float8
FROM runs_run WHERE created_at >= %(since)s GROUP BY 1, 2
"""
OUTCOMES = ("succeeded", "failed", "otherwise")
Found = Mapping[datetime, Mapping[str, float]]


def all_charts(span: Span) -> list[Chart]:
    """Throughput, durations, cost, tokens."""
    starts = span.starts(database_now())
    asked = {"width": int(span.width.total_seconds()), "since": starts[0]}
    ended: dict[datetime, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for start, status, count in hot.rows(_ENDED, asked):
        ended[start][status if status in (Status.SUCCEEDED, Status.FAILED) else "otherwise"] += count
    took = {start: {"half within": half, "95 % within": most} for start, (half, most) in hot.rows(_TOOK, asked)}
    cost: dict[datetime, dict[str, float]] = defaultdict(dict)
    tokens: dict[datetime, dict[str, float]] = defaultdict(dict)
    for start, workflow, dollars, many in hot.rows(_SPENT, asked):
        cost[start][workflow], tokens[start][workflow] = dollars, many
    finished, started = _links(span, "finished"), _links(span, "started")
    return [
        charts.stacked("Runs that ended", "runs", OUTCOMES, _columns(span, starts, ended, finished)),
        charts.lines(
            "From start to end, people included",
            "seconds",
            ("half within", "95 % within"),
            _columns(span, starts, took, finished),
        ),
        _by_workflow("Cost of runs started then", "dollars", span, starts, cost, started),
        _by_workflow("Tokens of runs started then", "tokens", span, starts, tokens, started),
    ]


def _by_workflow(
    title: str, unit: str, span: Span, starts: list[datetime], found: Found, link: Callable[[datetime], str]
) -> Chart:
    totals: dict[str, float] = defaultdict(float)
    for values in found.values():
        for name, value in values.items():
            totals[name] += value
    series = charts.largest({name: total for name, total in totals.items() if total})
    grouped: dict[datetime, dict[str, float]] = {start: defaultdict(float) for start in found}
    for start, values in found.items():
        for name, value in values.items():
            grouped[start][name if name in series else "others"] += value
    return charts.stacked(title, unit, series, _columns(span, starts, grouped, link))


def _columns(
    span: Span, starts: list[datetime], found: Found, link: Callable[[datetime], str]
) -> list[tuple[str, str, dict[str, float]]]:
    return [(span.label(start), link(start), dict(found.get(start, {}))) for start in starts]


def _links(span: Span, what: str) -> Callable[[datetime], str]:
    """The runs that a part of the time stands for."""

    def link(start: datetime) -> str:
        ends = [f"{at:%Y-%m-%dT%H:%M}" for at in (start, start + span.width)]
        return f"{reverse('run-list')}?{urlencode({'query': f'{what}:{ends[0]}..{ends[1]}'})}"

    return link
