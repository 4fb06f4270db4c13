"""Names and values stay names and values, wherever a request has room for them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from ingest.ingest_support import Client, Installation

from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.dead_letters.file import file_of
from cht_sync.pipeline.dead_letters.folder import problems_with
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.settings import load
from cht_sync.values import DATABASE_NAME

CANARY = "the canary lives"
HOSTILE = [
    "_id; drop table v1.canary; --",
    '_id"; drop table v1.canary; --',
    "_id'; drop table v1.canary; --",
    '_id") values (1); drop table v1.canary; --',
    "_id) do nothing; drop table v1.canary; --",
    '"_id"" ; drop table v1.canary; --"',
    "docs where true; delete from v1.canary; --",
    "_id\\'; drop table v1.canary; --",
    "$$; drop table v1.canary; $$",
    "%s; drop table v1.canary",
    "%(name)s",
    "{}",
    "_id::text; drop table v1.canary",
    "_id, (select rolpassword from pg_authid limit 1)",
    "(select name from v1.canary)",
    "pg_sleep(5)",
    "1 or 1=1",
    "_id\u2019; drop table v1.canary; --",
    "_id\n; drop table v1.canary; --",
]
PLACES = {
    "table name": ("GET", "/{}"),
    "schema and table": ("GET", "/v1.{}"),
    "select": ("GET", "/docs?select={}"),
    "alias": ("GET", "/docs?select={}:_id"),
    "cast": ("GET", "/docs?select=_id::{}"),
    "path in a document": ("GET", "/docs?select=doc->>{}"),
    "order": ("GET", "/docs?order={}"),
    "column of a filter": ("GET", "/docs?{}=eq.1"),
    "operator": ("GET", "/docs?_id={}.1"),
    "value": ("GET", "/docs?_id=eq.{}"),
    "list of values": ("GET", "/docs?_id=in.({})"),
    "like": ("GET", "/docs?_id=like.{}"),
    "full text": ("GET", "/docs?_id=fts({}).a"),
    "is": ("GET", "/docs?_id=is.{}"),
    "and": ("GET", "/docs?and=({})"),
    "limit": ("GET", "/docs?limit={}"),
    "offset": ("GET", "/docs?offset={}"),
    "columns": ("POST", "/docs?columns={}"),
    "on_conflict": ("POST", "/docs?on_conflict={}"),
    "returned": ("POST", "/docs?select={}"),
}
HEADERS = ["Prefer", "Accept-Profile", "Content-Profile", "Range", "X-Anything", "Cookie", "Accept"]


@pytest.fixture(scope="module", autouse=True)
def canary(database: Installation) -> None:
    database.execute("create table v1.canary (name text)")
    database.execute("insert into v1.canary values (%s)", CANARY)
    database.execute(f"grant insert, select, delete on v1.canary to {database.ingest_role}")


def assert_unharmed(database: Installation) -> None:
    assert database.execute("select name from v1.canary") == [(CANARY,)]


@pytest.mark.parametrize(("method", "target"), PLACES.values(), ids=[*PLACES])
def test_nothing_in_a_url_becomes_sql(
    ingest: Client, database: Installation, method: str, target: str
) -> None:
    for hostile in HOSTILE:
        body = [{"_id": "a"}] if method == "POST" else None
        prefer = {"Prefer": "resolution=merge-duplicates,return=representation"}
        answer = ingest.send(method, target.format(quote(hostile, safe="")), body, headers=prefer)
        assert answer.status < 500, (hostile, answer)
        assert b"SCRAM" not in answer.body and CANARY.encode() not in answer.body
    assert_unharmed(database)


@pytest.mark.parametrize("name", HEADERS)
def test_nothing_in_a_header_becomes_sql(ingest: Client, database: Installation, name: str) -> None:
    for hostile in HOSTILE:
        if "\n" in hostile:
            continue
        for value in (hostile, f"timezone={hostile}", f"return={hostile}"):
            headers = {name: value.encode().decode("latin-1")}
            answer = ingest.send("POST", "/docs", [{"_id": "a", "doc": {}}], headers=headers)
            assert answer.status < 500, (value, answer)
    assert_unharmed(database)


def test_nothing_in_a_body_becomes_sql(ingest: Client, database: Installation) -> None:
    for hostile in HOSTILE:
        for body in ([{"_id": hostile, "doc": {hostile: hostile}}], [{hostile: 1}], {hostile: hostile}):
            assert ingest.post("/docs", body, Prefer="resolution=merge-duplicates").status < 500
    assert_unharmed(database)
    stored = database.execute("select _id from v1.docs where doc ->> _id = _id")
    assert {row[0] for row in stored} >= {*HOSTILE}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_is_no_database_no_schema_and_no_table(tmp_path: Path, hostile: str) -> None:
    names = ("POSTGRES_DB", "POSTGRES_SCHEMA", "POSTGRES_USER", "DBT_POSTGRES_SCHEMA", "DBT_POSTGRES_USER")
    # CouchDB allows parentheses.
    couchdb = () if DATABASE_NAME.fullmatch(hostile) else ("COUCHDB_DBS", "POSTGRES_TABLE")
    for name in (*names, *couchdb):
        with pytest.raises(SettingsError) as refused:
            load(Environment.LOCAL, environ={name: hostile}, read_file=False)
        assert str(refused.value).startswith(name)


def test_a_value_that_the_pipeline_asks_for_stays_a_value(ingest: Client, database: Installation) -> None:
    connection = PostgrestConnection(f"http://127.0.0.1:{ingest.port}", None, Timeouts(5, 20))
    connection._session.headers["Authorization"] = f"Bearer {ingest.token}"
    for hostile in HOSTILE:
        assert all(row["_id"] == hostile for row in connection.select("docs", ["_id"], _id=hostile))
        connection.select("docs", ["_id"], _id=f"{hostile}&or=(_id.eq.a)")
    connection.close()
    assert_unharmed(database)


@pytest.mark.parametrize(
    "pipeline", ["../../outside", "..", ".", "/etc/passwd", "a/../../b", "..%2F..%2Fx", "~root", "a\nb"]
)
def test_letters_of_a_pipeline_stay_in_their_folder(tmp_path: Path, pipeline: str) -> None:
    folder = tmp_path / "letters"
    found = file_of(folder, pipeline)
    assert found.resolve().parent == folder.resolve()
    assert problems_with(folder, folder, pipeline) == []


@pytest.mark.parametrize("pipeline", ["a\0b", "x" * 300, "\ud800"])
def test_a_name_that_can_be_no_file_is_a_problem_of_the_configuration(tmp_path: Path, pipeline: str) -> None:
    folder = tmp_path
    (problem,) = problems_with(folder, folder, pipeline)
    assert "dead letters cannot be kept" in str(problem)
