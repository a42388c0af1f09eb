"""Hot SQL: prepared once a connection and bound by the server, below Django's cursor (which binds and plans anew)."""

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection


def one(statement: str, values: Mapping[str, Any]) -> Any:
    """The statement's one row, or None. It joins Django's transaction, if there is one. Raises psycopg's errors."""
    connection.ensure_connection()
    assert connection.connection is not None
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, values, prepare=True)
        return cursor.fetchone()


def rows(statement: str, values: Mapping[str, Any]) -> list[Any]:
    """All of the statement's rows."""
    connection.ensure_connection()
    assert connection.connection is not None
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, values, prepare=True)
        return cursor.fetchall()


def in_one_trip(*statements: tuple[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Send statements together and get the rows of each. Outside a transaction they are one; each looks anew."""
    connection.ensure_connection()
    raw = connection.connection
    assert raw is not None
    cursors = [psycopg.Cursor(raw) for _ in statements]
    with raw.pipeline():
        for cursor, (statement, values) in zip(cursors, statements, strict=True):
            cursor.execute(statement, values, prepare=True)
    return [cursor.fetchall() for cursor in cursors]
