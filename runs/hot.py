"""Hot SQL: prepared once a connection, bound by the server, and sent by libpq without a cursor in between.

A cursor costs more processor time than the statement itself on the path of every step (docs/benchmarks.md). Rows come back
as Django's own connection would load them.
"""

import re
import select
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from django.db import connection, transaction
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

Values = Mapping[str, Any]
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_prepared: WeakKeyDictionary[psycopg.Connection[Any], dict[str, bytes]] = WeakKeyDictionary()


def one(statement: str, values: Values) -> Any:
    """The statement's one row, or None. It joins Django's transaction, if there is one. Raises psycopg's errors."""
    found = rows(statement, values)
    return found[0] if found else None


def rows(statement: str, values: Values) -> list[Any]:
    """All of the statement's rows. Names are written ``%(name)s``; other per cent signs stand for themselves."""
    raw = _connection()
    data, formats = _bound(statement, values)
    if not settings.HOLDFAST_PREPARES:
        return _loaded(raw, raw.pgconn.exec_params(_numbered(statement)[0], data, param_formats=formats))
    return _loaded(raw, raw.pgconn.exec_prepared(_name(raw, statement), data, formats))  # type: ignore[arg-type] # None is NULL


def in_one_trip(*statements: tuple[str, Values]) -> list[list[Any]]:
    """Send statements together and get the rows of each. Outside a transaction they are one; each looks anew."""
    if not settings.HOLDFAST_PREPARES:
        with transaction.atomic():
            return [rows(statement, values) for statement, values in statements]
    raw = _connection()
    queries = [(_name(raw, statement), *_bound(statement, values)) for statement, values in statements]
    raw.pgconn.enter_pipeline_mode()
    try:
        for query in queries:
            raw.pgconn.send_query_prepared(*query)
        raw.pgconn.pipeline_sync()
        results = list(_results(raw.pgconn))
    finally:
        if raw.pgconn.status == pq.ConnStatus.OK:
            raw.pgconn.exit_pipeline_mode()
    return [_loaded(raw, result) for result in results]


def then(statement: tuple[str, Values], after: tuple[str, Values]) -> tuple[list[Any], list[Any]]:
    """Send a statement, commit it, and look with ``after``, which sees what others have committed by then. One round trip.

    What the first has done stays done: where the server refuses the second, it has found nothing.
    """
    raw = _connection()
    if not settings.HOLDFAST_PREPARES or not raw.autocommit:
        return rows(*statement), rows(*after)
    queries = [(_name(raw, text), *_bound(text, values)) for text, values in (statement, after)]
    found: list[list[pq.abc.PGresult]] = []
    raw.pgconn.enter_pipeline_mode()
    try:
        for query in queries:
            raw.pgconn.send_query_prepared(*query)
            raw.pgconn.pipeline_sync()
        found = [list(_results(raw.pgconn)), list(_results(raw.pgconn))]
    finally:
        if raw.pgconn.status == pq.ConnStatus.OK:
            raw.pgconn.exit_pipeline_mode()
    first = _loaded(raw, found[0][0])
    try:
        return first, _loaded(raw, found[1][0])
    except psycopg.Error:
        return first, []


def _results(pgconn: pq.abc.PGconn) -> Iterable[pq.abc.PGresult]:
    """The results up to the pipeline's end; a None stands between any two."""
    _flush(pgconn)
    while pgconn.status == pq.ConnStatus.OK:
        _wait(pgconn)
        result = pgconn.get_result()
        if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
            return
        if result is not None:
            yield result
    raise psycopg.OperationalError("the connection was lost")


def _flush(pgconn: pq.abc.PGconn) -> None:
    """Send what is queued. psycopg's connections do not block, so more than the socket takes at once would stay here."""
    poller: select.poll | None = None
    while pgconn.flush():
        if poller is None:
            poller = select.poll()
            poller.register(pgconn.socket, select.POLLIN | select.POLLOUT)
        for _, event in poller.poll():
            if event & select.POLLIN:  # the server answers meanwhile, and must not wait for us to read
                pgconn.consume_input()


def _wait(pgconn: pq.abc.PGconn) -> None:
    """Until a result is there. ``get_result`` would wait for it with the GIL held, and stop every other thread with it."""
    poller: select.poll | None = None
    while pgconn.is_busy():
        if poller is None:
            poller = select.poll()
            poller.register(pgconn.socket, select.POLLIN)
        poller.poll()
        pgconn.consume_input()


def _connection() -> psycopg.Connection[Any]:
    connection.ensure_connection()
    raw: psycopg.Connection[Any] | None = connection.connection
    assert raw is not None
    if not raw.autocommit and raw.pgconn.transaction_status == pq.TransactionStatus.IDLE:
        result = raw.pgconn.exec_(b"BEGIN")  # a cursor would have begun Django's transaction with its first statement
        if result.status not in _GOOD:
            raise _error(raw, result)
    return raw


def _name(raw: psycopg.Connection[Any], statement: str) -> bytes:
    known = _prepared.setdefault(raw, {})
    if statement not in known:
        name = f"hot{len(known)}".encode()
        result = raw.pgconn.prepare(name, _numbered(statement)[0])
        if result.status not in _GOOD:
            raise _error(raw, result)
        known[statement] = name
    return known[statement]


@cache
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with ``$1, $2, …`` and the names in that order."""
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    return statement.encode(), names


def _bound(statement: str, values: Values) -> tuple[list[bytes | None], list[int]]:
    given = [values[name] for name in _numbered(statement)[1]]
    return [_encoded(value) for value in given], [int(isinstance(value, bytes)) for value in given]


def _encoded(value: Any) -> bytes | None:
    """A parameter in PostgreSQL's text form; bytes go as they are."""
    kind = type(value)
    if value is None or kind is bytes:
        return value  # type: ignore[no-any-return]
    if kind is str:
        data: bytes = value.encode()
        if 0 in data:  # libpq would take the text to end there
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return data
    if kind is bool:
        return b"t" if value else b"f"
    if kind in (int, Decimal, UUID):
        return str(value).encode()
    if isinstance(value, datetime):
        return value.isoformat().encode()
    if isinstance(value, str):  # an enumeration's member
        return _encoded(str(value))
    raise TypeError(f"hot SQL takes no {kind.__name__}")


def _loaded(raw: psycopg.Connection[Any], result: pq.abc.PGresult) -> list[Any]:
    if result.status not in _GOOD:
        raise _error(raw, result)
    transformer = Transformer(raw)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _error(raw: psycopg.Connection[Any], result: pq.abc.PGresult) -> psycopg.Error:
    """By its SQLSTATE; an end of the connection has none."""
    if raw.pgconn.status != pq.ConnStatus.OK:
        return psycopg.OperationalError(raw.pgconn.get_error_message())
    return error_from_result(result)
