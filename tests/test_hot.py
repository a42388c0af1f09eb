"""Hot SQL below the cursor: what psycopg would have seen to is seen to here."""

import uuid
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, transaction

from runs import hot
from runs.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[True, False], ids=["prepared", "behind a pooler"])
def prepares(request, settings):
    settings.HOLDFAST_PREPARES = request.param


def test_values_come_back_as_they_went(prepares):
    given = {"n": 2**40, "t": "ä%s%%(x)", "b": b"\0\xff", "d": Decimal("0.000001"), "u": uuid.uuid4(), "f": True, "z": None}
    statement = (
        "SELECT %(n)s::bigint, %(t)s::text, %(b)s::bytea, %(d)s::numeric, %(u)s::uuid, %(f)s::bool, %(z)s::text, %(n)s::bigint"
    )
    for _ in range(3):
        assert hot.one(statement, given) == (*given.values(), given["n"])


def test_a_nul_is_refused_and_not_cut_off(prepares):
    with pytest.raises(psycopg.DataError, match="NUL"):
        hot.one("SELECT %(t)s::text", {"t": "half\0lost"})
    with pytest.raises(TypeError, match="takes no list"):
        hot.one("SELECT %(t)s::text", {"t": ["x"]})


def test_a_run_goes_its_way_behind_a_pooler_too(prepares, make_run, worker):
    run = make_run()
    assert worker(run)
    assert Run.objects.get(pk=run.pk).status == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_the_first_statement_of_a_transaction_begins_it(prepares, make_run):
    run = make_run()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert hot.one("UPDATE runs_run SET seq = 7 WHERE id = %(run)s RETURNING seq", {"run": run.pk}) == (7,)
        raise ZeroDivisionError
    assert Run.objects.get(pk=run.pk).seq == 0


@pytest.mark.django_db(transaction=True)
def test_an_error_names_its_class_and_leaves_the_connection_usable(prepares):
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            hot.one("SELECT 1 / %(n)s::int", {"n": 0})
    with pytest.raises(psycopg.errors.DivisionByZero):
        hot.in_one_trip(("SELECT %(n)s::int", {"n": 1}), ("SELECT 1 / %(n)s::int", {"n": 0}))
    assert hot.one("SELECT 5", {}) == (5,)


@pytest.mark.django_db(transaction=True)
def test_a_cut_connection_is_an_operational_error_and_the_next_one_prepares_anew():
    hot.one("SELECT 7", {})
    with psycopg.connect(**_parameters(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        for _ in range(3):
            hot.in_one_trip(("SELECT 7", {}), ("SELECT 8", {}))
    connection.close()
    assert hot.in_one_trip(("SELECT 7", {}), ("SELECT 8", {})) == [[(7,)], [(8,)]]


def _parameters():
    found = connection.get_connection_params()
    return {name: value for name, value in found.items() if name not in ("cursor_factory", "context", "prepare_threshold")}


@pytest.mark.django_db(transaction=True)
def test_a_look_after_the_commit_that_is_refused_undoes_nothing():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE kept (n int)")
    add, divide = ("INSERT INTO kept SELECT %(n)s RETURNING n", {"n": 1}), ("SELECT 1 / %(zero)s::int", {"zero": 0})
    assert hot.then(add, divide) == ([(1,)], [])
    with pytest.raises(psycopg.Error):
        hot.then(divide, add)
    assert hot.rows("SELECT count(*) FROM kept", {}) == [(2,)]  # each statement is a transaction of its own
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE kept")


@pytest.mark.django_db(transaction=True)
def test_more_than_the_socket_takes_at_once_arrives():
    statement = ("SELECT %(t)s::text", {"t": "x" * 3_000_000})
    assert [len(rows[0][0]) for rows in hot.in_one_trip(statement, statement, statement)] == [3_000_000] * 3
    assert [len(rows[0][0]) for rows in hot.then(statement, statement)] == [3_000_000] * 2
