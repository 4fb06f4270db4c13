"""What may reach our PostgreSQL through Superset: questions, and nothing that changes anything.

All dashboards share one role of PostgreSQL, which may alter itself; no right can take that away
(https://www.postgresql.org/docs/current/sql-alterrole.html: "Ordinary roles can only change their own
password"). So it is refused here, at the cursor, where everything passes: SQL Lab, charts, datasets. The
transactions of the connection are read-only beside it (provision/warehouse.py).

What a text means only PostgreSQL itself can say: others read strings, comments and EXPLAIN differently. So
each text is prepared first, on the very connection on which it is to run. The extended protocol takes one
statement only (https://www.postgresql.org/docs/current/protocol-flow.html), and says whether that answers
with rows: ALTER, COMMIT, SET, DO and the like do not.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import ProgrammingError, _psycopg, errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor
from sqlalchemy.engine import URL

READ_ONLY = "-cdefault_transaction_read_only=on"
"""Among the options of a connection: only questions may be asked through it."""

OWN_WORDS = re.compile(
    rb'set search_path = "(?:[^"]|"")+"'
    rb"|SELECT pg_terminate_backend\(pid\) FROM pg_stat_activity WHERE pid='[0-9]+'"
)
"""What Superset itself says to begin, and to stop a query that somebody stops."""

HARMFUL = re.compile(
    rb"""\bu&"|\0"""
    rb"|pg_(terminate|cancel)_backend|pg_stat_(get_)?(activity|backend_\w+)|pg_(try_)?advisory_\w+|pg_logical_\w+|pg_notify"
    rb"|set_config|lo_(creat|from_bytea|import|export|put|truncate|unlink)\w*|dblink\w*"
    rb"|(query|cursor|table|schema|database)_to_xml\w*|ts_stat|ts_rewrite",
    re.IGNORECASE,
)
"""Functions that reach beyond their query, or run a text as another one. Looked for in the whole text: a name
cannot be hidden but by numbers for its letters (U&"..."), or be cut off by a NUL."""

ONLY = "Only questions may be asked here"
COMMAND_OK = 1
SQLSTATE, PRIMARY = ord("C"), ord("M")

# The library that psycopg2 itself has loaded: the connection is one of that.
_libpq = ctypes.CDLL(_psycopg.__file__)
_libpq.PQprepare.argtypes = [
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_void_p,
]
_libpq.PQprepare.restype = ctypes.c_void_p
_libpq.PQdescribePrepared.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_libpq.PQdescribePrepared.restype = ctypes.c_void_p
_libpq.PQresultErrorField.argtypes = [ctypes.c_void_p, ctypes.c_int]
_libpq.PQresultErrorField.restype = ctypes.c_char_p
for _asked in (_libpq.PQresultStatus, _libpq.PQnfields, _libpq.PQclear):
    _asked.argtypes = [ctypes.c_void_p]


class QuestionsOnly(cursor):
    """A cursor of psycopg2 that refuses whatever is no question."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send one question; raises psycopg2.ProgrammingError for anything else, and runs nothing then.

        What PostgreSQL cannot understand it raises as PostgreSQL's own error.
        """
        text = self.mogrify(query, vars)
        if not OWN_WORDS.fullmatch(text):
            _refuse(self.connection, text)
        super().execute(text)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Nothing that reads needs it."""
        raise ProgrammingError(ONLY)

    copy_expert = copy_from = copy_to = callproc = executemany


def _refuse(connection: Connection, text: bytes) -> None:
    """Raise what an `execute` of that text must not do."""
    if harmful := HARMFUL.search(text):
        word = harmful[0].decode().strip("\0").lower() or "NUL"
        raise ProgrammingError(f"{ONLY}: {word} is refused")
    with _answer(_libpq.PQprepare(connection.pgconn_ptr, b"", text, 0, None)):
        pass
    with _answer(_libpq.PQdescribePrepared(connection.pgconn_ptr, b"")) as described:
        if not _libpq.PQnfields(described):
            raise ProgrammingError(f"{ONLY}: this answers nothing")


@contextmanager
def _answer(result: int) -> Iterator[int]:
    """An answer of the server; raises the error that it is, as psycopg2 would."""
    try:
        if _libpq.PQresultStatus(result) != COMMAND_OK:
            code = (_libpq.PQresultErrorField(result, SQLSTATE) or b"XX000").decode()
            said = (_libpq.PQresultErrorField(result, PRIMARY) or b"the connection is lost").decode()
            raise _class_of(code)(said)
        yield result
    finally:
        _libpq.PQclear(result)


def _class_of(code: str) -> type[Exception]:
    try:
        found: type[Exception] = errors.lookup(code)
    except KeyError:  # a code of somebody's own
        return ProgrammingError
    return found


def connection(url: URL, parameters: dict[str, Any], *_who: Any) -> tuple[URL, dict[str, Any]]:
    """Superset's DB_CONNECTION_MUTATOR: a connection that is read-only by its options asks only questions."""
    if READ_ONLY in str(url.query.get("options", "")).split(" "):
        arguments = {**parameters.get("connect_args", {}), "cursor_factory": QuestionsOnly}
        parameters = {**parameters, "connect_args": arguments}
    return url, parameters
