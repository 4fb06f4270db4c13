"""What a real server of the CouchDB protocol takes of all this, through the whole line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from couchdb_fixture import CouchDBServer
from psycopg2 import sql
from warehouse.installation import Installation
from warehouse.served import listening

from poison.engine import await_position, engine
from poison.kinds import KINDS, LONG_ID, document, exactly
from poison.recorded_feed import ordinary

ATTACHED = b'"_attachments":{"a.txt":{"content_type":"text/plain","data":"YWJj"}}'
CONFLICT = [document("conflict", b'"n":%d' % n, b'"1-%d"' % n) for n in (1, 2)]


@pytest.fixture
def installation(postgres_server: Any, database: str, couchdb_database: str) -> Iterator[Installation]:
    one = Installation(postgres_server, database)
    one.init(couchdb_database)
    yield one
    one.drop_roles()


def storable(value: Any) -> Any:
    """The value with U+FFFD for each character that jsonb does not have."""
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, str):
        return "".join("\ufffd" if one == "\0" or "\ud800" <= one <= "\udfff" else one for one in value)
    return value


def fill(server: CouchDBServer, database: str) -> tuple[dict[str, Any], str]:
    """Put what the server takes, and return what it then has, by id, and its last sequence."""
    login = (server.user, server.password)
    address = f"{server.url}/{database}"
    documents = [change.doc for change in ordinary(30) if change.doc]
    poison = [[kind.change.doc] for kind in KINDS if kind.change.doc]
    for batch in (documents, *poison, [document("attachment", ATTACHED)], CONFLICT):
        body = b'{"new_edits":false,"docs":[%s]}' % b",".join(batch)
        kind = {"Content-Type": "application/json"}
        requests.post(f"{address}/_bulk_docs", data=body, headers=kind, auth=login, timeout=60)
    feed = exactly(requests.get(f"{address}/_changes?include_docs=true", auth=login, timeout=60).content)
    return {row["id"]: row["doc"] for row in feed["results"]}, str(feed["last_seq"])


def test_all_that_the_server_has_are_rows_but_for_ids_that_cannot_be_one(
    couchdb_server: CouchDBServer, couchdb_database: str, installation: Installation, folder: Path
) -> None:
    has, last_sequence = fill(couchdb_server, couchdb_database)
    assert len(has) > 30 + len(KINDS) * 3 // 4
    login = {"COUCHDB_USER": couchdb_server.user, "COUCHDB_PASSWORD": couchdb_server.password}
    with (
        listening(installation) as warehouse,
        engine(warehouse, folder, port=couchdb_server.port, database=couchdb_database, **login) as running,
    ):
        await_position(warehouse, last_sequence, running)
    rows = installation.query(
        sql.SQL("select _id, doc::text from {}").format(sql.Identifier("v1", couchdb_database))
    )
    refused = {LONG_ID: "54000", "a\0b": "22P05", "a\ud800b": "22P05"}
    assert refused.keys() < has.keys()
    stored = {id: exactly(text) for id, text in rows}
    assert stored == {id: storable(value) for id, value in has.items() if id not in refused}
    assert stored["attachment"]["_attachments"]["a.txt"]["stub"] is True
    noted = {id for (id,) in installation.query("select doc_id from v1.replaced_values")}
    assert noted == {id for id, value in has.items() if id not in refused and storable(value) != value}
    letters = installation.query("select code from v1.dead_letters order by 1")
    assert letters == [("22P05",), ("22P05",), ("54000",)]
