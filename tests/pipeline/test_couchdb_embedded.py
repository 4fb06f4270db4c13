"""couchdb_changes and the embedded CouchDB-protocol server: cookies, selectors, replaced databases, size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from couchdb_fixture import CouchDBProcess, CouchDBServer
from postgres_fixture import PostgresServer, fresh_database
from running_pipeline import RunningPipeline
from test_couchdb_modes import Reading
from waiting import eventually
from warehouse.served import Served, served

from cht_sync.errors import LoginRefused
from cht_sync.generator import Client
from cht_sync.pipeline import input_runner, sweep
from cht_sync.pipeline.couchdb.reader import ChangesReader
from cht_sync.pipeline.couchdb.session import session_for

PERSONS = '{"type":"person"}'


@pytest.fixture
def database(couchdb_database: str) -> str:
    return couchdb_database


@pytest.fixture
def client(couchdb_server: CouchDBServer) -> Iterator[Client]:
    one = couchdb_server.client()
    yield one
    one.close()


@pytest.fixture
def reading(tmp_path: Path, couchdb_server: CouchDBServer, database: str) -> Iterator[Callable[..., Reading]]:
    """Reads the database with the server's login, unless told otherwise."""
    made: list[Reading] = []

    def start(port: int = couchdb_server.port, **options: object) -> Reading:
        login = {"username": couchdb_server.user, "password": couchdb_server.password, "db": database}
        made.append(Reading(tmp_path, port, **{**login, **options}))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., CouchDBServer]]:
    """Starts servers that a test may stop, each with data of its own and an empty database medic."""
    started: list[CouchDBServer] = []

    def start(name: str = "couchdb", **options: int) -> CouchDBServer:
        folder = tmp_path / name
        folder.mkdir()
        node = CouchDBProcess(folder, user="medic", password="password", **options)
        node.start()
        started.append(CouchDBServer("127.0.0.1", node.port, "medic", "password", node))
        one = started[-1].client()
        one.create_database("medic")
        one.close()
        return started[-1]

    yield start
    for one in started:
        one.node.stop()


# A cookie.


@pytest.mark.parametrize("mode", ["normal", "longpoll", "continuous"])
def test_a_cookie_reads_in_each_mode(
    client: Client, database: str, reading: Callable[..., Reading], mode: str
) -> None:
    client.write(database, [{"_id": "a"}, {"_id": "b"}])
    one = reading(auth="session", mode=mode)
    one.until(lambda: sorted(one.ids) == ["a", "b"])
    if mode == "normal":
        one.to_the_end()
    else:
        client.write(database, [{"_id": "c"}])
        one.until(lambda: one.ids[-1] == "c")


def test_a_wrong_password_gets_no_cookie_and_is_not_tried_again(reading: Callable[..., Reading]) -> None:
    one = reading(auth="session", username="medic-x", password="wrong", always_reconnect=False)
    with pytest.raises(LoginRefused, match=r"Name or password is incorrect\."):
        one.to_the_end()
    assert one.input._new_client().login_pause() > 60


def test_a_server_that_has_forgotten_its_cookies_gives_a_new_one_without_a_pause(
    own_server: Callable[..., CouchDBServer],
    reading: Callable[..., Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals: list[LoginRefused] = []
    pause = ChangesReader._pause

    def counted(self: ChangesReader, failure: Exception, seconds: float) -> None:
        if isinstance(failure, LoginRefused):
            refusals.append(failure)
        pause(self, failure, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(ChangesReader, "_pause", counted)
    server = own_server()
    one = reading(server.port, db="medic", auth="session", username="medic", password="password")
    client = server.client()
    client.write("medic", [{"_id": "a"}])
    one.until(lambda: one.ids == ["a"])
    before = session_for(server.url, "medic").value
    server.node.stop()
    server.node.start()
    client.write("medic", [{"_id": "b"}])
    one.until(lambda: one.ids == ["a", "b"])
    client.close()
    assert None is not before != session_for(server.url, "medic").value
    assert refusals == []


def test_cookies_that_end_are_renewed_while_reading_goes_on(
    own_server: Callable[..., CouchDBServer], reading: Callable[..., Reading]
) -> None:
    server = own_server(session_timeout=10)
    one = reading(
        server.port,
        db="medic",
        auth="session",
        username="medic",
        password="password",
        mode="longpoll",
        timeout=20,
    )
    client = server.client()
    seen: set[str | None] = set()
    written: list[str] = []

    def has_seen_many() -> bool:
        client.write("medic", [{"_id": f"d{len(written)}"}])
        written.append(f"d{len(written)}")
        seen.add(session_for(server.url, "medic").value)
        return one.read() and len(seen - {None}) > 2

    eventually(has_seen_many)
    eventually(lambda: one.read() and len(one.ids) == len(written))
    client.close()
    assert one.ids == written


# A selector.


@pytest.mark.parametrize("mode", ["normal", "longpoll", "continuous"])
def test_a_selector_reads_what_matches_in_each_mode(
    client: Client, database: str, reading: Callable[..., Reading], mode: str
) -> None:
    documents = [{"_id": f"{n:03}", "type": "report" if n % 3 else "person"} for n in range(450)]
    client.write(database, documents)
    one = reading(selector=PERSONS, mode=mode, batch_size=40, keep_tombstone=True)
    persons = [document["_id"] for document in documents if document["type"] == "person"]
    one.until(lambda: len(one.ids) >= len(persons))
    assert one.ids == persons
    if mode == "normal":
        one.to_the_end()
        assert one.ids == persons
        return
    client.write(database, [{"_id": "x", "type": "report"}])
    client.write(database, [{"_id": "y", "type": "person", "name": "Ada"}])
    one.until(lambda: len(one.ids) > len(persons))
    assert one.ids == [*persons, "y"]
    assert one.events[-1].get("[doc][name]") == "Ada"


def test_the_position_of_a_selector_passes_over_what_does_not_match(
    client: Client, database: str, reading: Callable[..., Reading]
) -> None:
    client.write(database, [{"_id": f"r{n}", "type": "report"} for n in range(9)])
    one = reading(selector=PERSONS, mode="normal", batch_size=2)
    one.to_the_end()
    assert one.ids == []
    assert one.file.read_text() == "9"


# What was replaced.


@pytest.fixture(scope="module")
def one_warehouse(postgres_server: PostgresServer) -> Iterator[Served]:
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        yield one


@pytest.fixture
def warehouse(one_warehouse: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(input_runner, "STANDBY", 0.05)
    monkeypatch.setattr(sweep, "REST", 0.05)
    one_warehouse.installation.query("truncate v1.medic, v1.couchdb_progress, v1.dead_letters")
    return one_warehouse


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_database_made_anew_is_read_from_its_start_and_what_it_lacks_becomes_tombstones(
    own_server: Callable[..., CouchDBServer], warehouse: Served, tmp_path: Path, running: bool
) -> None:
    server = own_server()
    client = server.client()
    client.write("medic", [{"_id": "gone"}, {"_id": "both"}])
    line = RunningPipeline(tmp_path, warehouse, server.port)
    line.start()
    try:
        eventually(lambda: set(line.rows()) == {"gone", "both"})
        if not running:
            line.stop()
        client.delete_database("medic")
        client.create_database("medic")
        client.write("medic", [{"_id": "both", "n": 2}, {"_id": "new"}])
        if not running:
            line.start()
        eventually(lambda: line.tombstones() == {"gone"})
        states = client.states("medic", ["both", "new"])
        line.await_rows({id: state.revision for id, state in states.items()})
        line.await_progress(rereading=False)
    finally:
        client.close()
        line.stop()


def test_another_server_under_the_same_name_is_not_read(
    own_server: Callable[..., CouchDBServer], warehouse: Served, tmp_path: Path
) -> None:
    def read(name: str, done: Callable[[RunningPipeline], bool]) -> RunningPipeline:
        server = own_server(name)
        client = server.client()
        client.write("medic", [{"_id": name}])
        client.close()
        line = RunningPipeline(tmp_path, warehouse, server.port)
        line.start()
        try:
            eventually(lambda: done(line))
        finally:
            line.stop()
        return line

    read("one", lambda line: set(line.rows()) == {"one"})
    line = read("other", lambda line: "another server" in str(line.progress("problem")))
    assert set(line.rows()) == {"one"}


# Size.


def test_a_backlog_of_documents_of_20_mb_arrives_whole(
    own_server: Callable[..., CouchDBServer], warehouse: Served, tmp_path: Path
) -> None:
    server = own_server()
    client = server.client()
    size = 20 << 20
    for number in range(3):
        client.write(
            "medic", [{"_id": f"large {number}", "text": str(number) * size}, {"_id": f"small {number}"}]
        )
    line = RunningPipeline(tmp_path, warehouse, server.port)
    line.start()
    try:
        eventually(lambda: len(line.rows()) == 6)
    finally:
        line.stop()
    found = warehouse.installation.query(
        "select _id, length(doc ->> 'text'), left(doc ->> 'text', 1) from v1.medic where _id like 'large%'"
    )
    assert sorted(found) == [(f"large {number}", size, str(number)) for number in range(3)]
    states = client.states("medic", list(line.rows()))
    client.close()
    assert line.rows() == {id: state.revision for id, state in states.items()}
