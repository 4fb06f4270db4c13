"""A burst leaves in the database exactly what was planned, however often it is run."""

from __future__ import annotations

import pytest
from couchdb_fixture import CouchDBServer

from cht_sync.errors import ChtSyncError, LoginRefused, SourceUnavailable
from cht_sync.generator import Client, GeneratorOptions, Kind, Summary, burst, plan
from cht_sync.generator.origin import Document

OPTIONS = GeneratorOptions(docs=700, seed=3, updates=0.2, deletes=0.1, batch_size=150)


def ignore(_changes: int) -> None:
    return None


def expected(options: GeneratorOptions) -> tuple[dict[str, Document], set[str]]:
    """What should be there after a burst: the documents, and the ids of those deleted."""
    documents: dict[str, Document] = {}
    deleted = set()
    for change in plan(options):
        if change.kind is Kind.DELETE:
            del documents[change.document_id]
            deleted.add(change.document_id)
        else:
            documents[change.document_id] = change.document
    return documents, deleted


def assert_as_planned(client: Client, database: str, options: GeneratorOptions) -> None:
    documents, deleted = expected(options)
    found = client.documents(database, list(documents))
    assert {key: {**document, "_rev": None} for key, document in found.items()} == {
        key: {**document, "_rev": None} for key, document in documents.items()
    }
    assert all(state.deleted for state in client.states(database, list(deleted)).values())
    assert len(client.states(database, list(deleted))) == len(deleted)


def test_a_burst_writes_what_was_planned(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    client = couchdb_server.client()
    done: list[int] = []
    assert burst(client, couchdb_database, OPTIONS, done.append) == Summary(700, 140, 70, 0)
    assert sum(done) == 910
    assert max(done) == 150
    assert_as_planned(client, couchdb_database, OPTIONS)


def test_a_burst_run_again_writes_nothing(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    client = couchdb_server.client()
    burst(client, couchdb_database, OPTIONS, ignore)
    ids = [change.document_id for change in plan(OPTIONS) if change.kind is Kind.CREATE]
    before = client.states(couchdb_database, ids)
    assert burst(client, couchdb_database, OPTIONS, ignore) == Summary(0, 0, 0, 910)
    assert client.states(couchdb_database, ids) == before


@pytest.mark.parametrize("batches", [1, 4, 5, 6])
def test_a_burst_that_was_interrupted_is_completed_by_the_next(
    couchdb_server: CouchDBServer, couchdb_database: str, batches: int
) -> None:
    client = couchdb_server.client()
    seen = []

    def interrupt(changes: int) -> None:
        seen.append(changes)
        if len(seen) == batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        burst(client, couchdb_database, OPTIONS, interrupt)
    rest = burst(client, couchdb_database, OPTIONS, ignore)
    assert rest.skipped == sum(seen)
    assert_as_planned(client, couchdb_database, OPTIONS)


def test_a_larger_burst_of_the_same_seed_adds_to_a_smaller_one(
    couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    burst(client, couchdb_database, GeneratorOptions(docs=100, updates=0, deletes=0), ignore)
    options = GeneratorOptions(docs=300, updates=0, deletes=0)
    assert burst(client, couchdb_database, options, ignore) == Summary(created=200, skipped=100)
    assert_as_planned(client, couchdb_database, options)


def test_a_document_that_somebody_else_edited_keeps_that_edit(
    couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    quiet = GeneratorOptions(docs=50, updates=0, deletes=0)
    burst(client, couchdb_database, quiet, ignore)
    ids = [change.document_id for change in plan(quiet)]
    for document in client.documents(couchdb_database, ids).values():
        client.write(couchdb_database, [{**document, "name": "by hand"}])
    burst(client, couchdb_database, GeneratorOptions(docs=50, updates=1, deletes=0), ignore)
    assert all(doc["name"] == "by hand" for doc in client.documents(couchdb_database, ids).values())


def test_a_wrong_password_is_a_refused_login(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    client = Client(couchdb_server.url, couchdb_server.user, "wrong")
    with pytest.raises(LoginRefused, match=r"Name or password is incorrect") as caught:
        burst(client, couchdb_database, OPTIONS, ignore)
    assert caught.value.hint == "check COUCHDB_USER and COUCHDB_PASSWORD"


def test_a_missing_database_is_named(couchdb_server: CouchDBServer) -> None:
    with pytest.raises(ChtSyncError, match="/no_such_database") as caught:
        burst(couchdb_server.client(), "no_such_database", OPTIONS, ignore)
    assert "create the database" in str(caught.value.hint)


def test_a_server_that_does_not_answer_may_answer_later() -> None:
    # Port 9 (discard) has no listener on loopback.
    with pytest.raises(SourceUnavailable):
        burst(Client("http://127.0.0.1:9", "medic", "secret"), "medic", OPTIONS, ignore)
