"""The page of runs: its pages both ways, its order, its views, completions, and what is new."""

import base64
import json
import uuid
from decimal import Decimal
from urllib.parse import parse_qs, urlparse

import pytest
from django.db.models import F

from console.listing import columns, sorting
from console.models import SavedView
from console.services import views
from runs.access import NotPermitted
from runs.models import Run


@pytest.fixture
def alice(client, people):
    client.force_login(people.alice)
    return client


def cursor_of(address):
    return parse_qs(urlparse(address).query)["cursor"][0]


@pytest.mark.parametrize("order", sorting.ORDERS)
def test_every_order_pages_there_and_back_without_a_gap_or_a_double(make_run, order):
    for number in range(7):
        run = make_run()
        Run.objects.filter(pk=run.pk).update(cost_usd=Decimal(number // 3), input_tokens=number // 2)
    finished = Run.objects.order_by("pk")[2:5].values("pk")
    Run.objects.filter(pk__in=finished).update(status="succeeded", finished_at=F("created_at"))
    runs, cursor, there = Run.objects.all(), "", []
    while True:
        page = sorting.page(runs, order=order, cursor=cursor, limit=3)
        there.append([run.pk for run in page.runs])
        if page.older is None:
            break
        cursor = page.older
    assert [len(part) for part in there] == [3, 3, 1]
    assert len({pk for part in there for pk in part}) == 7
    back = []
    while page.newer is not None:
        page = sorting.page(runs, order=order, cursor=page.newer, limit=3)
        back.append([run.pk for run in page.runs])
    assert [pk for part in reversed(back) for pk in part] == [pk for part in there[:-1] for pk in part]


def test_a_cursor_of_ours_survives_and_another_leads_to_the_first_page(make_run, alice):
    make_run()
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode()
    odd = [
        json.dumps(["after", value, str(uuid.uuid4()), "2026-01-01T00:00:00+00:00"])
        for value in ("NaN", "sNaN", "inf", "1e999999", "[]")
    ]
    for cursor in ("zzz", "W10=", nested, *(base64.urlsafe_b64encode(one.encode()).decode() for one in odd)):
        for order in ("", "-cost", "took", "tokens"):
            assert alice.get("/runs/", {"cursor": cursor, "sort": order}).status_code == 200


def test_a_wrong_query_is_named_and_nothing_is_listed(make_run, alice):
    run = make_run()
    page = alice.get("/runs/", {"query": "statu:failed"})
    assert page.status_code == 422
    assert "statu: is no term" in page.content.decode() and str(run.pk) not in page.content.decode()


def test_a_chip_is_a_term_and_its_cross_takes_it_away(make_run, alice):
    make_run()
    page = alice.get("/runs/", {"query": "status:queued workflow:t-line"}).content.decode()
    assert 'href="?query=workflow%3At-line"' in page and 'href="?query=status%3Aqueued"' in page


def test_old_addresses_mean_the_same(make_run, alice):
    run = make_run()
    page = alice.get("/runs/", {"status": "queued", "workflow": "t-line", "q": "t-line"}).content.decode()
    assert str(run.pk) in page and "status:queued workflow:t-line t-line" in page


def test_waiting_for_me_lists_what_the_user_could_decide(make_gate, client, people):
    gate = make_gate()
    client.force_login(people.bob)
    assert str(gate.run_id) in client.get("/runs/?view=mine").content.decode()
    client.force_login(people.alice)
    assert str(gate.run_id) not in client.get("/runs/?view=mine").content.decode()


def test_chosen_columns_are_hidden_by_the_page_alone(make_run, alice):
    make_run()
    page = alice.get("/runs/", {"columns": "cost"}).content.decode()
    hidden = page.split('data-hide="')[1].split('"')[0].split()
    assert set(hidden) == set(columns.ALL) - {"status", "run", "cost"}


def test_a_view_is_saved_shared_replaced_and_deleted(alice, people, client):
    given = {"name": "Mine", "query": "status:failed", "sort": "-cost", "columns": "status,run,cost", "shared_with": "viewer"}
    made = alice.post("/runs/views/", given)
    view = SavedView.objects.get()
    assert made.status_code == 302 and made["Location"] == f"/runs/?view={view.pk}"
    assert (view.query, view.sort, view.columns) == ("status:failed", "-cost", ["status", "run", "cost"])
    alice.post("/runs/views/", {**given, "query": "is:stuck"})
    assert SavedView.objects.get().query == "is:stuck"
    client.force_login(people.dave)  # a viewer
    assert ">Mine" in client.get("/runs/").content.decode()
    assert client.post(f"/runs/views/{view.pk}/delete/").status_code == 403
    client.force_login(people.erin)  # no viewer
    assert ">Mine" not in client.get("/runs/").content.decode()
    assert client.post(f"/runs/views/{view.pk}/delete/").status_code == 404
    client.force_login(people.alice)
    assert client.post(f"/runs/views/{view.pk}/delete/").status_code == 302
    assert not SavedView.objects.exists()


@pytest.mark.parametrize(("given", "says"), [
    ({"name": ""}, "name: a name of 1 to 60"), ({"name": "x" * 61}, "name: a name of 1 to 60"),
    ({"shared_with": "all"}, "shared_with: one of viewer"), ({"query": "statu:x"}, "query: statu: is no term"),
    ({"sort": "luck"}, "sort: one of"),
])  # fmt: skip
def test_a_view_that_cannot_be_is_refused_and_its_field_named(alice, given, says):
    refused = alice.post("/runs/views/", {"name": "v", "query": "", **given})
    assert refused.status_code == 422 and says in refused.content.decode()
    assert not SavedView.objects.exists()


def test_whoever_sees_nothing_saves_nothing(people, client):
    client.force_login(people.mallory)
    assert client.post("/runs/views/", {"name": "v"}).status_code == 403
    assert client.get("/runs/?view=²").status_code == 200
    with pytest.raises(NotPermitted):
        views.save(by=people.mallory, name="v")


def test_completions_follow_what_is_typed(alice, make_run, people):
    from engine.services.starting import start

    start(workflow="t-line", input={}, by=people.alice, labels={"customer": "acme"})

    def texts(typed):
        page = alice.get("/runs/completions/", {"typed": typed}).content.decode()
        return [part.split('"')[0] for part in page.split('data-text="')[1:]]

    assert texts("sta") == ["status:", "started:"]
    assert texts("status:fai") == ["status:failed "]
    assert texts("x status:failed,wait") == ["x status:failed,waiting "]
    assert texts("-is:stu") == ["-is:stuck "]
    assert texts("label.cu") == ["label.customer:"]
    assert texts("label.customer:") == ["label.customer:acme "]
    assert texts("by:ali") == ["by:alice "]
    assert texts("nonsense:") == [] and texts('"><script>') == []


def test_what_has_come_since_is_counted_where_it_is_wanted(alice, make_run):
    page = {"since": "2020-01-01T00:00:00Z"}
    make_run()
    assert "1 new run<" in alice.get("/runs/news/", page).content.decode()
    assert "new run" not in alice.get("/runs/news/", {**page, "query": "status:failed"}).content.decode()
    assert alice.get("/runs/news/", {"since": "x"}).status_code == 200


def test_a_page_of_runs_asks_a_fixed_number_of_questions(alice, make_run, django_assert_max_num_queries):
    for _ in range(20):
        make_run()
    with django_assert_max_num_queries(10):
        alice.get("/runs/")
