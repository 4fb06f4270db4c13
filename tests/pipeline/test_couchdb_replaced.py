"""A database that was made anew, and another server: noticed, and nothing is lost or invented."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_couchdb import UUID, FakeCouchdb
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.served import SECRET, Served

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline import input_runner, sweep
from cht_sync.pipeline.postgrest import writer
from cht_sync.tokens import make_token
from cht_sync.warehouse.connection import Endpoint
from cht_sync.warehouse.server_change import accept_server

HARD_IDS = (
    *('"quoted"', "it's", "100%", "%41", "a,b", "(a)", "a.b", "gt.a", "not.eq.a", "*", "a&b=c", "a+b c"),
    *(
        "line\nend",
        "tab\t",
        "back\\slash",
        "ünïcode",
        "漢字",
        "😀",
        "_design/views",
        "null",
        "{a}",
        "ID",
        "z" * 900,
    ),
)


@pytest.fixture
def warehouse(emptied_warehouse: Served) -> Served:
    return emptied_warehouse


@pytest.fixture
def line(tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb) -> Iterator[RunningPipeline]:
    made = RunningPipeline(tmp_path, warehouse, couchdb.port)
    yield made
    couchdb.held.set()
    made.stop()


@pytest.fixture
def owner(warehouse: Served) -> Endpoint:
    server = warehouse.installation.server
    return Endpoint(server.host, server.port, warehouse.installation.name, server.user, server.password)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_runner, "STANDBY", 0.05)
    monkeypatch.setattr(sweep, "REST", 0.05)


def filled(couchdb: FakeCouchdb, line: RunningPipeline, *ids: str) -> None:
    """Write documents and wait until they are rows, with the position."""
    couchdb.write(*ids)
    line.start()
    line.await_rows(couchdb.documents())
    born = couchdb.databases["medic"].instance_start_time
    line.await_progress(server_uuid=UUID, instance_start_time=born, rereading=False, problem=None)


def settled(couchdb: FakeCouchdb, line: RunningPipeline) -> None:
    """Wait until a database made anew has been read again, and nothing is left of the one before."""
    born = couchdb.databases["medic"].instance_start_time
    line.await_progress(instance_start_time=born, rereading=False, problem=None)
    line.await_rows(couchdb.documents())


def hold_page(couchdb: FakeCouchdb, number: int) -> None:
    """Hold the answer to this one of the pages that are asked for from now on."""
    pages = 0

    def is_it(request: str) -> bool:
        nonlocal pages
        pages += "limit=" in request
        return pages == number

    couchdb.hold = is_it


def test_a_database_made_anew_while_the_pipeline_was_stopped_is_read_from_its_start(
    couchdb: FakeCouchdb, line: RunningPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    filled(couchdb, line, "both", "old", *HARD_IDS)
    line.stop()
    couchdb.delete()
    couchdb.create()
    couchdb.write("both", "new", '"quoted"')
    line.start()
    settled(couchdb, line)
    assert set(line.rows()) == {"both", "new", '"quoted"'}
    assert line.tombstones() == {"old", *HARD_IDS} - {'"quoted"'}
    assert "was deleted and made anew" in caplog.text


def test_the_sweep_goes_from_one_hard_id_to_the_next(
    couchdb: FakeCouchdb, line: RunningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAGE", 1)
    filled(couchdb, line, *HARD_IDS)
    couchdb.delete()
    couchdb.create()
    couchdb.write(*HARD_IDS[::2])
    settled(couchdb, line)
    assert line.tombstones() == set(HARD_IDS[1::2])
    assert len([request for request in couchdb.requests if "_all_docs" in request]) == len(HARD_IDS)


def test_a_tombstone_of_the_sweep_is_as_one_of_the_feed(couchdb: FakeCouchdb, line: RunningPipeline) -> None:
    filled(couchdb, line, "swept", "deleted", "kept")
    couchdb.write("deleted", deleted=True)
    line.await_rows({id: rev for id, rev in line.rows().items() if id != "deleted"})
    revision = line.rows()["swept"]
    couchdb.delete()
    couchdb.create()
    couchdb.write("kept")
    settled(couchdb, line)
    columns = '_rev, doc, doc_as_upsert, "@version", source, _deleted'
    query = f"select {columns} from v1.medic where _id = %s"
    (swept,) = line.served.installation.query(query, "swept")
    (by_feed,) = line.served.installation.query(query, "deleted")
    assert swept[:2] == (revision, {"_id": "swept", "_rev": revision, "_deleted": True})
    assert set(swept[1]) == set(by_feed[1])
    assert swept[2:] == by_feed[2:]


def test_a_database_made_anew_under_the_live_feed_is_noticed(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "both", "old")
    couchdb.delete()
    couchdb.create()
    couchdb.write("both", "new")
    settled(couchdb, line)
    assert line.tombstones() == {"old"}
    couchdb.write("later")
    line.await_rows(couchdb.documents())


def test_a_database_made_anew_twice_is_swept_for_the_last_one(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "first")
    couchdb.hold = lambda request: "_all_docs" in request
    couchdb.delete()
    couchdb.create()
    couchdb.write("second")
    assert couchdb.is_held.wait(30)
    couchdb.delete()
    couchdb.create()
    couchdb.write("third")
    couchdb.hold = lambda _request: False
    couchdb.held.set()
    settled(couchdb, line)
    assert line.tombstones() == {"first", "second"}


def test_a_database_made_anew_between_two_pages_is_noticed(
    tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, batch_size=5)
    ids = [f"d{n:02}" for n in range(20)]
    couchdb.write(*ids)
    hold_page(couchdb, 2)
    line.start()
    try:
        assert couchdb.is_held.wait(30)
        couchdb.delete()
        couchdb.create()
        couchdb.write("d03", "new")
        couchdb.held.set()
        settled(couchdb, line)
        assert set(line.rows()) == {"d03", "new"}
    finally:
        line.stop()


def test_a_connection_that_broke_makes_sure_before_it_reads_on(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "a")
    eventually(lambda: couchdb.requests.count("GET /") == 2)  # before the first page, and with the live feed
    before = len(couchdb.requests)
    couchdb.break_connections()
    couchdb.write("b")
    line.await_rows(couchdb.documents())
    assert couchdb.requests[before : before + 2] == ["GET /medic", "GET /"]


def test_a_database_that_is_missing_and_comes_back_as_another_is_noticed(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "old")
    couchdb.delete()
    asked = len(couchdb.requests)
    eventually(lambda: len(couchdb.requests) > asked + 1)
    couchdb.create()
    couchdb.write("new")
    settled(couchdb, line)
    assert line.tombstones() == {"old"}


def test_a_document_created_after_its_page_was_looked_at_stays(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "again", "old")
    couchdb.before_all_docs_is_answered = lambda: couchdb.write("again")
    couchdb.delete()
    couchdb.create()
    couchdb.write("new")
    settled(couchdb, line)
    assert line.tombstones() == {"old"}


def test_the_feed_goes_on_between_the_pages_of_a_sweep(
    couchdb: FakeCouchdb, line: RunningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAGE", 2)
    filled(couchdb, line, *(f"old{n}" for n in range(10)))
    seen: list[bool] = []

    def write_and_look() -> None:
        seen.append(f"new{len(seen) - 1}" in line.rows())
        couchdb.write(f"new{len(seen)}")

    couchdb.before_all_docs_is_answered = write_and_look
    couchdb.delete()
    couchdb.create()
    couchdb.write("new0")
    settled(couchdb, line)
    assert len(seen) >= 5
    assert any(seen[2:])


def test_a_sweep_that_gets_no_answer_waits_and_buries_nothing(
    couchdb: FakeCouchdb, line: RunningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(couchdb, line, "old", "both")
    tries = 0

    def answer_late(self: Any, database: Any, keys: list[str]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            self._json({"error": "timeout", "reason": "The request could not be processed."}, 500)
        elif tries == 2:
            self._send(b"<html>Please sign in</html>", 200, "text/html")
        elif tries == 3:
            self._json({"total_rows": 0, "offset": None, "rows": []})
        else:
            original(self, database, keys)

    handler = couchdb.RequestHandlerClass
    original = handler._all_docs  # type: ignore[attr-defined]
    monkeypatch.setattr(handler, "_all_docs", answer_late)
    couchdb.delete()
    couchdb.create()
    couchdb.write("both")
    settled(couchdb, line)
    assert tries == 4
    assert line.tombstones() == {"old"}


# Crashes.


def test_a_crash_while_it_is_read_from_its_start_is_followed_by_the_rest(
    tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, batch_size=5)
    ids = [f"d{n:02}" for n in range(20)]
    filled(couchdb, line, "old", *ids)
    line.stop()
    couchdb.delete()
    couchdb.create()
    couchdb.write(*ids)
    hold_page(couchdb, 3)
    line.start_process()
    try:
        assert couchdb.is_held.wait(30), line.log
        born = couchdb.databases["medic"].instance_start_time
        line.await_progress(instance_start_time=born, rereading=True)
        line.kill()
        assert "old" in line.rows()
        couchdb.hold = lambda _request: False
        couchdb.held.set()
        line.start()
        settled(couchdb, line)
        assert line.tombstones() == {"old"}
    finally:
        line.stop()


def test_a_crash_during_the_sweep_is_followed_by_a_sweep(
    tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port)
    old = [f"old{n:04}" for n in range(1500)]
    filled(couchdb, line, *old)
    line.stop()
    couchdb.delete()
    couchdb.create()
    couchdb.write("new")
    sweeps = 0

    def second_page(request: str) -> bool:
        nonlocal sweeps
        sweeps += "_all_docs" in request
        return sweeps == 2

    couchdb.hold = second_page
    line.start_process()
    try:
        assert couchdb.is_held.wait(30), line.log
        line.kill()
        assert 0 < len(line.tombstones()) < len(old)
        assert line.progress("rereading") == (True,)
        couchdb.hold = lambda _request: False
        couchdb.held.set()
        line.start()
        settled(couchdb, line)
        assert line.tombstones() == set(old)
    finally:
        line.stop()


def test_a_crash_before_the_start_was_stored_notices_it_again(
    tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port)
    filled(couchdb, line, "old")
    line.stop()
    before = line.progress("seq", "instance_start_time")
    couchdb.delete()
    couchdb.create()
    couchdb.write("new")
    couchdb.hold = lambda request: request == "GET /"
    line.start_process()
    try:
        assert couchdb.is_held.wait(30), line.log
        line.kill()
        assert line.progress("seq", "instance_start_time") == before
        couchdb.hold = lambda _request: False
        couchdb.held.set()
        line.start()
        settled(couchdb, line)
    finally:
        line.stop()


# Another server.


def another_server(couchdb: FakeCouchdb, line: RunningPipeline) -> None:
    """The data came from one server, and now there is another, with other documents."""
    filled(couchdb, line, "both", "old")
    couchdb.uuid = "another"
    couchdb.delete()
    couchdb.create()
    couchdb.write("both", "new")
    eventually(lambda: bool(line.progress("problem")[0]))


def test_another_server_is_not_read_and_is_a_problem_with_its_remedy(
    couchdb: FakeCouchdb, line: RunningPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    another_server(couchdb, line)
    asked = len(couchdb.asked("GET /medic/_changes"))
    (problem,) = line.progress("problem")
    assert f"uuid is another and was {UUID}" in str(problem)
    assert "cht-sync accept-server --from-start" in str(problem)
    looks = couchdb.requests.count("GET /")
    eventually(lambda: couchdb.requests.count("GET /") > looks + 2)
    assert len(couchdb.asked("GET /medic/_changes")) == asked
    assert set(line.rows()) == {"both", "old"}
    assert line.progress("problem") == (problem,)
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 1


def test_another_server_that_is_accepted_from_the_start_takes_the_place_of_the_old_one(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    another_server(couchdb, line)
    assert accept_server(owner, "v1") == ["127.0.0.1/medic"]
    line.await_progress(server_uuid="another", rereading=False, problem=None)
    settled(couchdb, line)
    assert line.tombstones() == {"old"}


def test_another_server_that_is_accepted_to_go_on_is_read_after_the_position(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    filled(couchdb, line, "a")
    position = line.progress("seq")[0]
    couchdb.uuid = "another"
    couchdb.break_connections()
    couchdb.write("b")
    eventually(lambda: bool(line.progress("problem")[0]))
    asked = len(couchdb.requests)
    assert accept_server(owner, "v1", from_start=False) == ["127.0.0.1/medic"]
    line.await_progress(server_uuid="another", rereading=False, problem=None)
    line.await_rows(couchdb.documents())
    pages = [request for request in couchdb.requests[asked:] if "limit=" in request]
    assert f"since={position}" in pages[0]
    assert not any("_all_docs" in request for request in couchdb.requests)


def test_a_server_that_is_itself_again_is_read_on_without_a_word(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    filled(couchdb, line, "a")
    couchdb.uuid = "another"
    couchdb.break_connections()
    eventually(lambda: bool(line.progress("problem")[0]))
    couchdb.write("b")
    couchdb.uuid = UUID
    line.await_rows(couchdb.documents())
    line.await_progress(server_uuid=UUID, problem=None)


def test_the_operators_word_may_come_while_the_pipeline_is_stopped(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    another_server(couchdb, line)
    line.stop()
    assert line.progress("problem")[0]
    assert accept_server(owner, "v1") == ["127.0.0.1/medic"]
    line.start()
    settled(couchdb, line)


def test_a_word_about_a_database_that_is_read_makes_it_be_read_again(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    filled(couchdb, line, "a", "b")
    del couchdb.databases["medic"].changes["b"]  # purged: no trace in the feed
    assert accept_server(owner, "v1") == []
    assert line.progress("rereading") == (False,)
    assert accept_server(owner, "v1", databases=["medic"]) == ["127.0.0.1/medic"]
    couchdb.write("c")
    settled(couchdb, line)
    assert set(line.rows()) == {"a", "c"}
    assert line.tombstones() == {"b"}


def test_a_word_about_a_database_that_was_never_read_changes_nothing(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    another_server(couchdb, line)
    before = line.progress("seq", "server_uuid", "problem")
    with pytest.raises(ChtSyncError, match="nothing to accept"):
        accept_server(owner, "v1", databases=["medic", "medic-sentinel"])
    assert line.progress("seq", "server_uuid", "problem") == before


# What cannot be known.


def not_noticed(couchdb: FakeCouchdb, line: RunningPipeline, caplog: pytest.LogCaptureFixture) -> None:
    """The database is made anew, and everything that it has arrives; nobody can know more."""
    with caplog.at_level(logging.INFO):
        couchdb.write("old")
        line.start()
        line.await_rows(couchdb.documents())
        couchdb.delete()
        couchdb.create()
        couchdb.write("new")
        eventually(lambda: "new" in line.rows())
    assert set(line.rows()) == {"old", "new"}
    assert [record.levelname for record in caplog.records if "verify" in record.message] == ["INFO"]
    assert line.progress("rereading", "problem") == (False, None)


def old_version(couchdb: FakeCouchdb) -> None:
    couchdb.version = "3.3.3"


def no_start_time(couchdb: FakeCouchdb) -> None:
    couchdb.databases["medic"].instance_start_time = "0"
    original = couchdb.create
    couchdb.create = lambda name="medic", *, born=None: original(name, born="0")  # type: ignore[method-assign]


def behind_a_proxy(couchdb: FakeCouchdb) -> None:
    couchdb.root = b"<html>Welcome to the proxy</html>"


@pytest.mark.parametrize("server", [old_version, no_start_time, behind_a_proxy])
def test_where_it_cannot_be_known_this_is_said_and_reading_goes_on(
    server: Callable[[FakeCouchdb], None],
    couchdb: FakeCouchdb,
    line: RunningPipeline,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server(couchdb)
    not_noticed(couchdb, line, caplog)


def test_a_server_without_uuid_is_read_on(couchdb: FakeCouchdb, line: RunningPipeline) -> None:
    filled(couchdb, line, "a")
    couchdb.uuid = None
    couchdb.break_connections()
    couchdb.write("b")
    line.await_rows(couchdb.documents())
    assert line.progress("server_uuid", "problem") == (UUID, None)


def test_an_upgrade_that_begins_to_tell_is_no_replacement(
    couchdb: FakeCouchdb, line: RunningPipeline
) -> None:
    database = couchdb.databases["medic"]
    born, database.instance_start_time = database.instance_start_time, "0"
    couchdb.write("a")
    line.start()
    line.await_rows(couchdb.documents())
    database.instance_start_time = born
    couchdb.break_connections()
    couchdb.write("b")
    line.await_rows(couchdb.documents())
    line.await_progress(instance_start_time=born, rereading=False)
    assert not any("_all_docs" in request for request in couchdb.requests)


# A position that the server refuses.


def test_a_refused_position_waits_for_the_operator_and_ends_nothing(
    couchdb: FakeCouchdb, line: RunningPipeline, owner: Endpoint
) -> None:
    filled(couchdb, line, "a")
    line.stop()
    line.served.installation.query("update v1.couchdb_progress set seq = '5000000'")
    couchdb.write("b")
    line.start()
    eventually(lambda: bool(line.progress("problem")[0]))
    problem = str(line.progress("problem")[0])
    assert "Malformed sequence" in problem
    assert "accept-server --from-start" in problem
    accept_server(owner, "v1")
    settled(couchdb, line)


def test_a_refused_position_in_a_file_ends_nothing_either(
    couchdb: FakeCouchdb, tmp_path: Path, warehouse: Served, caplog: pytest.LogCaptureFixture
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, sequence_store='"file"')
    config = line.config.read_text().replace("position_headers => true", "position_headers => false")
    token = make_token(SECRET, warehouse.role)
    line.config.write_text(config.replace('"Prefer"', f'"Authorization" => "Bearer {token}"\n "Prefer"'))
    (tmp_path / "medic.seq").write_text("5000000")
    couchdb.write("a")
    line.start()
    try:
        eventually(lambda: "Malformed sequence" in caplog.text)
        (tmp_path / "medic.seq").unlink()
        line.await_rows(couchdb.documents())
    finally:
        line.stop()


# What it costs.


def test_a_backlog_is_not_asked_about_page_by_page(
    tmp_path: Path, warehouse: Served, couchdb: FakeCouchdb
) -> None:
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, batch_size=5)
    couchdb.write(*(f"d{n}" for n in range(100)))
    line.start()
    try:
        line.await_rows(couchdb.documents())
        couchdb.write("live")
        line.await_rows(couchdb.documents())
        assert len([request for request in couchdb.requests if "limit=" in request]) >= 20
        looks = couchdb.requests.count("GET /"), couchdb.requests.count("GET /medic")
        assert looks[0] == looks[1] <= 1 + len(couchdb.asked("GET /medic/_changes?feed=continuous"))
    finally:
        line.stop()


# A stop.


def test_a_stop_ends_a_wait_for_the_operator(
    couchdb: FakeCouchdb, line: RunningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_runner, "STANDBY", 3600.0)
    another_server(couchdb, line)
    line.stop()


def test_a_stop_ends_a_sweep_that_waits(
    couchdb: FakeCouchdb, line: RunningPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "REST", 3600.0)
    filled(couchdb, line, "old")
    failing = threading.Event()

    def fail(self: Any, _database: Any, _keys: list[str]) -> None:
        self._json({"error": "timeout", "reason": "The request could not be processed."}, 500)
        failing.set()

    monkeypatch.setattr(couchdb.RequestHandlerClass, "_all_docs", fail)
    couchdb.delete()
    couchdb.create()
    assert failing.wait(30)
    line.stop()
    assert line.rows().keys() == {"old"}
    assert line.progress("rereading") == (True,)
