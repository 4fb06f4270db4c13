"""What patients' documents say stays out of messages; what helps to mend a model stays in."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from cht_sync.transform.messages import MOST_LETTERS, without_values

from .warehouse import Warehouse

HEAD = "Database Error in model person (models/contacts/person.sql)\n  "
SECRET = 'Ada "Njeri" 1999'


@pytest.fixture
def connection(warehouse: Warehouse) -> Connection:
    return warehouse.connection


def said(connection: Connection, query: str, *values: object) -> str:
    """What PostgreSQL really says, in dbt's wrapping."""
    with pytest.raises(psycopg2.Error) as failed, connection, connection.cursor() as cursor:
        cursor.execute(query, values)
    indented = "\n  ".join(str(failed.value).strip().splitlines())
    return f"{HEAD}{indented}\n  compiled code at /srv/work/target/run/person.sql"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("select %s::text::date", "invalid input syntax for type date"),
        ("select %s::text::integer", "invalid input syntax for type integer"),
        ("select %s::text::jsonb", "invalid input syntax for type json"),
        ("select to_date(%s, 'YYYY-MM-DD')", "invalid value"),
        ("select (%s || '}')::text::text[]", "malformed array literal"),
        ("create temporary table t (a text unique); insert into t values (%s), (%s)", 'constraint "t_a_key"'),
        ("create temporary table t (a text check (a = '')); insert into t values (%s)", 'relation "t"'),
        ("create temporary table t (a text, b int not null); insert into t values (%s)", 'column "b"'),
        ("select now() at time zone %s", "not recognized"),
        ("do $$ begin perform %s::text::date; end $$", "invalid input syntax for type date"),
    ],
)
def test_no_value_of_a_document_is_left(connection: Connection, query: str, kept: str) -> None:
    whole = said(connection, query, *[SECRET] * query.count("%s"))
    assert "Njeri" in whole or "Ada" in whole
    short = without_values(whole)
    assert kept in short
    for word in ("Ada", "Njeri", "1999"):
        assert word not in short
    assert "models/contacts/person.sql" in short


def test_a_number_that_is_too_large_is_cut(connection: Connection) -> None:
    short = without_values(said(connection, "select '254700000001'::integer"))
    assert "254700000001" not in short
    assert "is out of range for type integer" in short


@pytest.mark.parametrize(
    "query",
    [
        "select no_such_column",
        "select * from no_such_table",
        "selct no_such_word",
        "select no_such_function(now())",
    ],
)
def test_what_is_wrong_with_the_sql_is_kept(connection: Connection, query: str) -> None:
    whole = said(connection, query)
    short = without_values(whole)
    first = whole.splitlines()[1].strip()
    assert first in short
    assert "LINE 1" in short
    assert "target/run" not in short


def test_a_hint_is_kept(connection: Connection) -> None:
    short = without_values(said(connection, "select no_such_function(now())"))
    assert "HINT:  No function matches" in short


def test_literals_of_the_sql_are_cut() -> None:
    short = without_values(HEAD + "syntax error at or near \"x\"\n  LINE 3: ...name = 'Ada' x\n    ^")
    assert short.splitlines()[1:] == ['syntax error at or near "x"', "LINE 3: …"]


def test_other_languages_quote_with_other_marks() -> None:
    assert "Ada" not in without_values("syntaxe en entrée invalide pour le type date : « Ada »")
    assert "Ada" not in without_values("ungültige Eingabesyntax für Typ date: „Ada“")


def test_bytes_are_cut() -> None:
    assert "0xe9" not in without_values('invalid byte sequence for encoding "UTF8": 0xe9 0x20 0x4e')


def test_a_value_of_several_lines_is_cut() -> None:
    short = without_values(HEAD + 'invalid input syntax for type date: "Ada\n  Njeri"\n  LINE 1: select x')
    assert short.splitlines()[1:] == ['invalid input syntax for type date: "…"', "LINE 1: select x"]


def test_a_value_that_looks_like_a_name_is_cut() -> None:
    assert "Ada" not in without_values('invalid input syntax for type date: "x" column "Ada"')


def test_a_message_without_quotes_is_unchanged() -> None:
    said = "Got 3 results, configured to fail if != 0"
    assert without_values(said) == said


def test_a_long_message_is_shortened() -> None:
    assert len(without_values("x" * 5000)) == MOST_LETTERS
