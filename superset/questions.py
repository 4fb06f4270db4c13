"""What may reach our PostgreSQL through Superset: questions, and nothing that changes anything.

All dashboards share one role of PostgreSQL, which may alter itself; no right can take that away
(https://www.postgresql.org/docs/current/sql-alterrole.html: "Ordinary roles can only change their own
password" and settings). So it is refused here, at the cursor, where everything passes: SQL Lab, charts,
datasets. The transactions of the connection are read-only beside it (provision/warehouse.py).
"""

from __future__ import annotations

import logging
import re
from typing import Any

import sqlglot
from psycopg2 import ProgrammingError
from psycopg2.extensions import cursor
from sqlalchemy.engine import URL
from sqlglot import exp

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it does not know is refused, and told to who asks

READ_ONLY = "-cdefault_transaction_read_only=on"
"""Among the options of a connection: only questions may be asked through it."""

OWN_WORDS = re.compile(r'show [a-z_ ]+|set search_path = "(?:[^"]|"")+"', re.IGNORECASE)
"""What SQLAlchemy and Superset themselves say when a connection begins."""

EXPLAIN = re.compile(r"\s*explain\b\s*(?:\([^()]*\)|(?:(?:analyze|verbose)\b\s*)*)", re.IGNORECASE)

CHANGING = (
    exp.Alter,
    exp.Command,
    exp.Create,
    exp.Delete,
    exp.Drop,
    exp.Insert,
    exp.Into,
    exp.Lock,
    exp.Merge,
    exp.TruncateTable,
    exp.Update,
)
FORBIDDEN_FUNCTIONS = re.compile(
    "set_config|pg_cancel_backend|setval|nextval|pg_notify|pg_(try_)?advisory.*|pg_(export|import|log|reload|rotate|switch).*"
    "|lo_.*|lowrite|dblink.*|(query|cursor|table|schema|database)_to_xml.*|ts_(stat|rewrite)"
)
"""Functions that change the session or hold something, and those that run a text as another query."""

HIDDEN_NAME = re.compile(r"""\bu&["']""", re.IGNORECASE)
"""A name or text in which characters are written as numbers: what it says cannot be seen here."""


class QuestionsOnly(cursor):
    """A cursor of psycopg2 that refuses, as PostgreSQL would, whatever is no question."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send one question; raises psycopg2.ProgrammingError for anything else, and sends nothing then."""
        if problem := refusal(self.mogrify(query, vars).decode()):
            raise ProgrammingError(f"{problem}. Only questions may be asked here, one at a time.")
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Nothing that reads needs it."""
        raise ProgrammingError("Only questions may be asked here, one at a time.")

    copy_expert = copy_from = copy_to = callproc = executemany


def refusal(sql: str) -> str | None:
    """Say why a text is not one question; None where it is one."""
    if OWN_WORDS.fullmatch(sql.strip()):
        return None
    if HIDDEN_NAME.search(sql):
        return "U& is not understood"
    asked = EXPLAIN.sub("", sql, count=1) if EXPLAIN.match(sql) else sql
    try:
        parsed = sqlglot.parse(asked, dialect="postgres")
    except sqlglot.errors.SqlglotError:
        return "This is not understood"
    statements = [one for one in parsed if one is not None and not isinstance(one, exp.Semicolon)]
    if len(statements) != 1:
        return "This is more than one statement" if statements else "This is no statement"
    return _refusal(statements[0], sql.split(maxsplit=1)[0])


def _refusal(statement: exp.Expression, first_word: str) -> str | None:
    changing = statement.find(*CHANGING)
    functions = [one.name.lower() for one in statement.find_all(exp.Anonymous)]
    forbidden = next(filter(FORBIDDEN_FUNCTIONS.fullmatch, functions), None)
    if not isinstance(statement, exp.Query | exp.Values):
        return f"{first_word.upper()} is refused"
    if changing:
        return f"{changing.key.upper()} is refused"
    return f"The function {forbidden} is refused" if forbidden else None


def connection(url: URL, parameters: dict[str, Any], *_who: Any) -> tuple[URL, dict[str, Any]]:
    """Superset's DB_CONNECTION_MUTATOR: a connection that is read-only by its options asks only questions."""
    if READ_ONLY in str(url.query.get("options", "")).split(" "):
        arguments = {**parameters.get("connect_args", {}), "cursor_factory": QuestionsOnly}
        parameters = {**parameters, "connect_args": arguments}
    return url, parameters
