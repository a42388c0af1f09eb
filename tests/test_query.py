"""The typed query of a list of runs, on the page and in the API."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.services.starting import start
from runs import query, terms
from runs.clock import database_now
from runs.models import Run

FITS = [
    "status:queued", "status:queued,failed -workflow:x", "workflow:t-line", "started:<2h", "started:today",
    "started:>2026-01-01", "cost:<1", "tokens:<5", "took:<5m", "by:alice", "is:unfinished", "-is:stuck", "-is:late",
    "-status:failed",
    "t-line",
    '"t-line"', "label.customer:acme", 'label.customer:"acme"', "-label.customer:globex", "version:1", "step:one", "-is:fork",
    "acme", "started:2026-01-01T10:00..2099-01-01", "-waiting:<1h",
]  # fmt: skip
FITS_NOT = ["status:failed", "workflow:t", "started:>2h", "finished:today", "cost:>1", "took:>1h", "by:bob", "is:stuck",
            "is:fork", "label.customer:globex", "error:timeout", "-t-line", "waiting:<1h", "id:ffff0", "is:retrying",
            "is:finished"]  # fmt: skip


@pytest.fixture
def run(people):
    return start(workflow="t-line", input={}, by=people.alice, labels={"customer": "acme"})[0]


@pytest.mark.parametrize("text", FITS)
def test_a_run_fits_its_terms(run, text):
    assert list(terms.narrow(Run.objects.all(), text)) == [run]


@pytest.mark.parametrize("text", FITS_NOT)
def test_and_does_not_fit_others(run, text):
    assert not terms.narrow(Run.objects.all(), text).exists()


def test_a_run_is_found_by_how_its_id_ends(run):
    for text in (f"id:{str(run.pk)[-5:]}", str(run.pk)[-6:], f"id:{run.pk}", f"…{str(run.pk)[-4:]}"):
        assert list(terms.narrow(Run.objects.all(), text)) == [run]


def test_waiting_counts_from_when_the_gate_was_opened(make_gate, at):
    gate = make_gate()
    assert terms.narrow(Run.objects.all(), "waiting:<1h").get() == gate.run
    at("3 hours")
    assert terms.narrow(Run.objects.all(), "waiting:1h..8h").get() == gate.run
    assert not terms.narrow(Run.objects.all(), "waiting:<1h").exists()


def test_an_error_is_found_by_its_words_and_its_type(run):
    Run.objects.update(error={"type": "Transient", "message": "the bank timed out", "step": "one", "attempt": 1})
    for text in ('error:"timed out"', "error:transient"):
        assert terms.narrow(Run.objects.all(), text).get() == run


@pytest.mark.parametrize(("text", "says"), [
    ("status:x", "status: one of queued, running"), ("started:soon", "started: <2h, today"),
    ("cost:1", "cost: a number such as >1"),
    ("cost:>NaN", "cost: a number"), ("took:>x", "took: a length such as >5m"),
    ("statu:x", "statu: is no term; known are status"),
    ("status:", "status: a value was expected"), ("is:mine", "is: one of stuck, late"), ("cost:>1e99", "cost: a number"),
    ("started:>1e9h", "started: <2h"), ("a\0b", "without NUL"), ("x" * 1001, "at most 1000"), ("a " * 31, "at most 30 terms"),
    ("waiting:soon", "waiting: <1h"), ("took:>99999999999d", "took: a length"), ("started:2026-13-01", "started: <2h"),
])  # fmt: skip
def test_what_cannot_be_meant_is_named(db, text, says):
    with pytest.raises(query.QueryInvalid, match=f"^.*{says}"):
        list(terms.narrow(Run.objects.all(), text))


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_reading_what_was_written_gives_the_same_terms(text):
    try:
        found = query.parse(text)
    except query.QueryInvalid:
        return
    assert query.parse(query.text_of(found)) == found


def test_the_api_takes_the_same_query_and_names_what_is_wrong(run, client, people):
    client.force_login(people.dave)
    found = client.get("/api/runs", {"query": "label.customer:acme cost:<1"}).json()["items"]
    assert [one["id"] for one in found] == [str(run.pk)]
    refused = client.get("/api/runs", {"query": "cost:1"})
    assert refused.status_code == 422 and "cost: a number such as >1" in refused.json()["detail"]


def test_a_span_holds_its_beginning_and_not_its_end(run):
    start, end = (f"{database_now() + timedelta(hours=hours):%Y-%m-%dT%H:%M}" for hours in (-1, 1))
    assert terms.narrow(Run.objects.all(), f"started:{start}..{end}").get() == run
    assert not terms.narrow(Run.objects.all(), f"started:{end}..{start}").exists()
