"""The first page: its numbers, each with the runs behind it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from console.overview import charts, failures, numbers, over_time
from console.overview.spans import SPANS
from engine.services.starting import start
from runs import terms
from runs.clock import database_now
from runs.models import Run


@pytest.fixture
def alice(client, people):
    client.force_login(people.alice)
    return client


def test_its_numbers_are_those_of_the_runs_behind_them(make_run, make_gate, alice):
    make_gate()
    make_run()
    now = database_now()
    stuck = make_run()
    long_ago = now - timedelta(seconds=400)
    Run.objects.filter(pk=stuck.pk).update(status="running", worker=7, step_started_at=long_ago, stuck_at=now)
    failed = make_run()
    Run.objects.filter(pk=failed.pk).update(status="failed", finished_at=now, cost_usd=Decimal("1.5"))
    found = numbers.numbers()
    assert (found.in_flight, found.gates, found.stuck, found.failed_today) == (2, 1, 1, 1)
    assert found.cost_today == Decimal("1.5") and found.stuck_runs == [stuck]
    for query, count in (("status:queued,running,rolling_back", 2), ("is:stuck", 1), ("status:failed finished:today", 1)):
        assert terms.narrow(Run.objects.all(), query).count() == count
    assert [(age, count) for age, count, _ in found.waiting if count] == [("under 1 h", 1)]
    page = alice.get("/").content.decode()
    assert f"{stuck.workflow} …{stuck.short_id}" in page and "Hold workflow" in page


def test_failures_of_one_cause_are_one_and_lead_to_their_runs(make_run):
    now = database_now()
    for number in range(3):
        run = make_run()
        error = {"type": "Transient", "message": f"order {number}: 503 after {number} s", "step": "one", "attempt": 1}
        Run.objects.filter(pk=run.pk).update(status="failed", finished_at=now - timedelta(minutes=number), error=error)
    other = make_run()
    Run.objects.filter(pk=other.pk).update(
        status="failed", finished_at=now, error={"type": "Permanent", "message": "no", "step": "two", "attempt": 1}
    )
    first, second = failures.grouped(now - timedelta(hours=1))
    assert (first.workflow, first.step, first.error, first.count) == ("t-line", "one", "Transient", 3)
    assert first.first == now - timedelta(minutes=2) and second.count == 1
    assert terms.narrow(Run.objects.all(), first.query).count() == 3


@pytest.mark.parametrize("span", SPANS)
def test_over_time_each_column_leads_to_its_runs(make_run, span):
    now = database_now()
    run, second = make_run(), make_run()
    took = {"status": "succeeded", "finished_at": now, "cost_usd": Decimal(2), "input_tokens": 70}
    Run.objects.filter(pk__in=(run.pk, second.pk)).update(**took)
    ended, durations, cost, tokens = over_time.all_charts(SPANS[span])
    assert dict(ended.totals) == {"succeeded": 2, "failed": 0, "otherwise": 0}
    assert dict(cost.totals) == {"t-line": 4.0} and dict(tokens.totals) == {"t-line": 140.0}
    assert len(ended.columns) == SPANS[span].parts and not durations.is_empty
    link = next(link for _, link, values in ended.columns if values)
    assert terms.narrow(Run.objects.all(), parse_qs(urlparse(link).query)["query"][0]).count() == 2


def test_many_workflows_are_the_largest_and_the_others():
    assert charts.largest({str(number): number for number in range(9)}) == ["8", "7", "6", "5", "others"]
    assert charts.largest({"a": 1, "b": 2}) == ["b", "a"]


def test_columns_stack_to_their_sum_and_lines_leave_out_what_is_not_known():
    chart = charts.stacked("t", "runs", ("a", "b"), [("1", "", {"a": 1, "b": 3}), ("2", "", {"a": 2})])
    assert [(block.series, block.height, block.y) for block in chart.blocks] == [("a", 25, 75), ("b", 75, 0), ("a", 50, 50)]
    assert charts.lines("t", "s", ("a",), [("1", "", {"a": 1}), ("2", "", {}), ("3", "", {"a": 2})]).lines[0][1].count(",") == 2


def test_who_has_no_role_is_told_so(client, people):
    client.force_login(people.mallory)
    page = client.get("/").content.decode()
    assert "No role yet" in page and "In flight" not in page


def test_without_a_workflow_a_snippet_is_offered_which_can_be_registered(alice, monkeypatch):
    import html
    import re

    from workflows import registry

    monkeypatch.setattr(registry, "all_newest", lambda: [])
    page = alice.get("/").content.decode()
    code = html.unescape(re.search(r'<pre class="snippet"[^>]*>(.*?)</pre>', page, re.DOTALL)[1])
    monkeypatch.setattr(registry, "register", lambda workflow: workflow)
    space: dict[str, Any] = {}
    exec(code, space)
    space["letter"].finish()
    assert list(space["letter"].steps) == ["draft", "look", "send"]


def test_redis_and_the_sweeper_away_are_said(alice, settings, make_run, monkeypatch):
    make_run()
    settings.REDIS_URL = "unix:///nowhere"
    page = alice.get("/").content.decode()
    assert "Redis is away" in page and "The sweeper is not running" in page and "No worker is connected" in page


def test_ten_thousand_runs_are_no_more_questions(alice, people, make_run, django_assert_max_num_queries):
    for _ in range(5):
        start(workflow="t-line", input={}, by=people.alice)
    with django_assert_max_num_queries(36):
        alice.get("/")
