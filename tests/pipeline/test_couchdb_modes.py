"""couchdb_changes: how a feed is read, as whom, and what of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_couchdb import FakeCouchdb
from http_server import server_tls
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.served import Served

from cht_sync.errors import ConfigError, LoginRefused, OperatorNeeded, SourceError
from cht_sync.pipeline import sweep
from cht_sync.pipeline.couchdb.reader import ChangesReader
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.inputs.couchdb_changes import CouchdbChanges, Options, build
from cht_sync.pipeline.plugins import Password, PluginContext

PATIENCE = 20.0


class Reading:
    """An input, and what it has given."""

    def __init__(self, folder: Path, port: int, **options: Any) -> None:
        self.file = folder / "sequence"
        given = {"db": "medic", "host": "127.0.0.1", "port": port, "sequence_path": str(self.file), **options}
        if isinstance(given.get("password"), str):
            given["password"] = Password(given["password"])
        self.input: CouchdbChanges = build(Options(**given), PluginContext("main", folder))
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.input.start(None, self.stop)

    def read(self) -> bool:
        """Take a batch; False at the end of the input."""
        batch = self.input.read(self.stop, 0.05)
        if batch is None:
            return False
        self.events.extend(batch.events)
        batch.ack()
        return True

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(int(PATIENCE / 0.05)):
            if true():
                return
            assert self.read(), "the input has ended"
        pytest.fail("waited in vain")

    def to_the_end(self) -> None:
        for _ in range(int(PATIENCE / 0.05)):
            if not self.read():
                return
        pytest.fail("the input does not end")

    @property
    def ids(self) -> list[str]:
        return [event.metadata["_id"] for event in self.events]

    def close(self) -> None:
        self.stop.set()
        self.input.interrupt()
        self.input.close()


@pytest.fixture
def reading(tmp_path: Path, couchdb: FakeCouchdb) -> Iterator[Callable[..., Reading]]:
    made: list[Reading] = []

    def start(port: int = 0, folder: Path = tmp_path, **options: Any) -> Reading:
        made.append(Reading(folder, port or couchdb.port, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def warehouse(emptied_warehouse: Served) -> Served:
    return emptied_warehouse


# How.


def test_mode_normal_reads_to_the_end_once_and_the_next_run_reads_what_is_new(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write(*[f"d{number}" for number in range(25)])
    first = reading(mode="normal", batch_size=10)
    first.to_the_end()
    assert sorted(first.ids) == sorted(couchdb.documents())
    couchdb.write("new")
    second = reading(mode="normal")
    second.to_the_end()
    assert second.ids == ["new"]
    assert couchdb.asked("GET /medic/_changes?feed") == []


@pytest.mark.parametrize("mode", ["normal", "longpoll", "continuous"])
def test_each_mode_reads_a_real_server(
    couchdb_server: Any, couchdb_database: str, reading: Callable[..., Reading], mode: str
) -> None:
    client = couchdb_server.client()
    client.write(couchdb_database, [{"_id": "a"}, {"_id": "b"}])
    one = reading(
        couchdb_server.port,
        db=couchdb_database,
        username=couchdb_server.user,
        password=couchdb_server.password,
        mode=mode,
    )
    one.until(lambda: sorted(one.ids) == ["a", "b"])
    if mode == "normal":
        one.to_the_end()
    else:
        client.write(couchdb_database, [{"_id": "c"}, {"_id": "d"}, {"_id": "e"}])
        one.until(lambda: sorted(one.ids) == ["a", "b", "c", "d", "e"])
        client.write(couchdb_database, [{"_id": "f"}])
        one.until(lambda: one.ids[-1] == "f")
    client.close()


def test_mode_longpoll_asks_for_no_continuous_feed_and_brings_what_comes_later(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write("before")
    one = reading(mode="longpoll", batch_size=2)
    one.until(lambda: one.ids == ["before"])
    couchdb.write("a")
    one.until(lambda: one.ids[-1] == "a")
    couchdb.write("b", "c", "d", "e", "f")
    one.until(lambda: sorted(one.ids) == ["a", "b", "before", "c", "d", "e", "f"])
    assert couchdb.asked("GET /medic/_changes?feed=continuous") == []


def test_a_longpoll_that_breaks_is_asked_again_from_where_it_was(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    one = reading(mode="longpoll")
    eventually(lambda: len(couchdb.asked("GET /medic/_changes?feed=longpoll")) == 1)
    couchdb.break_connections()
    couchdb.write("a")
    one.until(lambda: one.ids == ["a"])


def test_a_longpoll_that_waits_ends_with_the_input(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    one = reading(mode="longpoll", heartbeat=60_000)
    eventually(lambda: len(couchdb.asked("GET /medic/_changes?feed=longpoll")) == 1)
    one.close()
    reader = one.input._reader
    assert isinstance(reader, ChangesReader)
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_without_always_reconnect_the_input_ends_with_its_feed(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write("a")
    one = reading(always_reconnect=False, timeout=50)
    one.to_the_end()
    assert one.ids == ["a"]
    assert len(couchdb.asked("GET /medic/_changes?feed=continuous")) == 1


@pytest.mark.parametrize("mode", ["continuous", "longpoll"])
def test_without_always_reconnect_a_failure_is_an_error_and_not_an_end(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], mode: str
) -> None:
    couchdb.write("a")
    one = reading(always_reconnect=False, mode=mode)
    one.until(lambda: one.ids == ["a"])
    eventually(lambda: len(couchdb.asked(f"GET /medic/_changes?feed={mode}")) == 1)
    couchdb.break_connections()
    with pytest.raises(SourceError):
        one.to_the_end()


def test_a_feed_that_ends_after_the_timeout_is_asked_for_again(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    one = reading(timeout=50)
    one.until(lambda: len(couchdb.asked("GET /medic/_changes?feed=continuous")) > 1)
    assert "timeout=50" in couchdb.asked("GET /medic/_changes?feed=continuous")[0]
    assert not any("heartbeat" in request for request in couchdb.requests)
    couchdb.write("a")
    one.until(lambda: one.ids == ["a"])


@pytest.mark.parametrize("mode", ["longpoll", "normal"])
def test_a_database_made_anew_becomes_tombstones_in_each_mode(
    couchdb: FakeCouchdb,
    warehouse: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    """In the mode normal the input does not end before the last tombstone is there."""
    monkeypatch.setattr("cht_sync.pipeline.postgrest.writer.PAGE", 2)
    monkeypatch.setattr(sweep, "REST", 0.05)
    couchdb.write("a", "b", "c", "d", "e")
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, mode=f'"{mode}"')

    def run_until(done: Callable[[], bool]) -> None:
        line.start()
        eventually(done)
        if mode == "normal":
            eventually(lambda: line.metrics.state == "finished")
        line.stop()

    run_until(lambda: line.rows() == couchdb.documents())
    couchdb.delete()
    couchdb.create()
    couchdb.write("b", "new")
    run_until(lambda: line.tombstones() == {"a", "c", "d", "e"})
    assert line.rows() == couchdb.documents()
    run_until(lambda: line.progress("rereading") == (False,))


# From where.


def test_a_sequence_of_another_database_stops_the_start_and_the_file_stays(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.create("other")
    couchdb.write("a", "b")
    couchdb.write("x", database="other")
    first = reading(mode="normal")
    first.to_the_end()
    saved = first.file.read_text()
    for changed in ({"db": "other"}, {"host": "localhost"}, {"port": 1}):
        with pytest.raises(ConfigError, match=r"belongs to 127\.0\.0\.1:"):
            reading(**{"mode": "normal", **changed})
    assert first.file.read_text() == saved
    first.file.unlink()
    other = reading(mode="normal", db="other")
    other.to_the_end()
    assert other.ids == ["x"]


def test_a_sequence_that_another_pipeline_saved_since_the_check_stops_the_start(
    couchdb: FakeCouchdb, tmp_path: Path
) -> None:
    options = {"host": "127.0.0.1", "port": couchdb.port, "sequence_path": str(tmp_path / "sequence")}
    checked = build(Options(db="other", **options), PluginContext("main", tmp_path))
    couchdb.write("a")
    before = Reading(tmp_path, couchdb.port, mode="normal")
    before.to_the_end()
    with pytest.raises(ConfigError, match="belongs to"):
        checked.start(None, threading.Event())


# As whom.


def session(reading: Callable[..., Reading], folder: Path, password: str = "secret", **more: Any) -> Reading:
    folder.mkdir(exist_ok=True)
    return reading(folder=folder, auth="session", username="medic", password=password, **more)


def test_one_cookie_serves_all_databases_of_a_server(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], tmp_path: Path
) -> None:
    couchdb.login = ("medic", "secret")
    couchdb.create("other")
    couchdb.write("a")
    couchdb.write("b", database="other")
    readings = [session(reading, tmp_path / name, db=name) for name in ("medic", "other")]
    for one, id in zip(readings, "ab", strict=True):
        one.until(lambda one=one, id=id: one.ids == [id])  # type: ignore[misc]
    assert couchdb.asked("POST /_session") == ["POST /_session"]


def test_an_expired_cookie_is_replaced_without_a_pause(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], tmp_path: Path
) -> None:
    couchdb.login = ("medic", "secret")
    one = session(reading, tmp_path)
    eventually(lambda: len(couchdb.asked("GET /medic/_changes?feed=continuous")) == 1)
    couchdb.cookies.clear()
    couchdb.write("a")
    couchdb.break_connections()
    one.until(lambda: one.ids == ["a"])
    assert len(couchdb.asked("POST /_session")) == 2
    assert couchdb.failures == 0


def test_a_cookie_that_an_answer_renews_is_used_from_then_on(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], tmp_path: Path
) -> None:
    couchdb.login, couchdb.renews = ("medic", "secret"), True
    couchdb.write(*[f"d{number}" for number in range(20)])
    one = session(reading, tmp_path, batch_size=2, mode="normal")
    one.to_the_end()
    assert len(one.ids) == 20
    assert couchdb.asked("POST /_session") == ["POST /_session"]


def test_a_refused_login_for_a_cookie_is_tried_once_by_all(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    couchdb.login = ("medic", "secret")
    paused = threading.Semaphore(0)
    pause = ChangesReader._pause

    def counted(self: ChangesReader, failure: SourceError, seconds: float) -> None:
        assert isinstance(failure, LoginRefused)
        assert seconds > 60
        paused.release()
        pause(self, failure, seconds)

    monkeypatch.setattr(ChangesReader, "_pause", counted)
    for number in range(8):
        session(reading, tmp_path / f"{number}", password="wrong")
    for _ in range(8):
        assert paused.acquire(timeout=PATIENCE)
    assert couchdb.failures == 1


def test_a_password_that_was_changed_is_tried_once_when_the_cookie_ends(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    couchdb.login = ("medic", "secret")
    readings = [session(reading, tmp_path / f"{number}") for number in range(4)]
    eventually(lambda: len(couchdb.asked("GET /medic/_changes?feed=continuous")) == len(readings))
    paused = threading.Semaphore(0)

    def counted(self: ChangesReader, failure: SourceError, seconds: float) -> None:
        if isinstance(failure, LoginRefused):
            paused.release()
            self._stop_reading.wait(PATIENCE)

    monkeypatch.setattr(ChangesReader, "_pause", counted)
    couchdb.login = ("medic", "another")
    couchdb.cookies.clear()
    couchdb.break_connections()
    for _ in readings:
        assert paused.acquire(timeout=PATIENCE)
    assert couchdb.failures == 1


@pytest.mark.parametrize("auth", ["basic", "session"])
def test_a_corrected_password_does_not_wait_for_the_end_of_the_pause(
    couchdb: FakeCouchdb, reading: Callable[..., Reading], auth: str
) -> None:
    couchdb.login = ("medic", "secret")
    couchdb.write("a")
    options = {"auth": auth, "username": "medic", "mode": "normal", "always_reconnect": False}
    for _ in range(3):
        with pytest.raises(LoginRefused):
            reading(password="wrong", **options).to_the_end()
    corrected = reading(password="secret", **options)
    corrected.to_the_end()
    assert corrected.ids == ["a"]
    assert couchdb.failures == 1


def test_with_a_cookie_no_request_carries_the_password(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    client = session(reading, tmp_path).input._new_client()
    assert "Authorization" not in client._session.headers
    assert client._session.auth is None
    client.close()


def test_a_bearer_token_reads(couchdb: FakeCouchdb, reading: Callable[..., Reading]) -> None:
    couchdb.token = "abc.def.ghi"
    couchdb.write("a")
    one = reading(auth="bearer", bearer_token=Password("abc.def.ghi"), mode="normal")
    one.to_the_end()
    assert one.ids == ["a"]


def test_a_refused_bearer_token_pauses_and_is_named_by_its_option(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.token = "another"
    one = reading(auth="bearer", bearer_token=Password("abc"), always_reconnect=False)
    with pytest.raises(LoginRefused, match="the bearer token") as refusal:
        one.to_the_end()
    assert "bearer_token" in str(refusal.value.hint)
    assert one.input._new_client().login_pause() > 60
    assert len(couchdb.requests) == 1


def test_over_https_the_authority_of_ca_file_is_trusted_and_no_other(
    certificates: Path, couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.socket = server_tls(certificates).wrap_socket(
        couchdb.socket, server_side=True, do_handshake_on_connect=False
    )
    couchdb.write("a")
    one = reading(secure=True, ca_file=certificates / "ca.pem", mode="normal")
    one.to_the_end()
    assert one.ids == ["a"]
    with pytest.raises(SourceError, match="certificate"):
        reading(secure=True, always_reconnect=False).to_the_end()


# What.


def test_a_selector_reads_what_matches_in_pages_and_live(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write("a", "b", type="person")
    couchdb.write("x", type="report")
    one = reading(selector='{"type":"person"}')
    one.until(lambda: sorted(one.ids) == ["a", "b"])
    eventually(lambda: len(couchdb.asked("POST /medic/_changes?feed=continuous&filter=_selector")) == 1)
    couchdb.write("y", type="report")
    couchdb.write("c", type="person")
    one.until(lambda: one.ids[-1] == "c")
    assert sorted(one.ids) == ["a", "b", "c"]
    one.close()
    again = reading(selector='{"type":"person"}', mode="normal")
    again.to_the_end()
    assert again.ids == []


def test_the_position_of_a_selector_passes_over_what_does_not_match(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write(*[f"r{number}" for number in range(9)], type="report")
    one = reading(selector='{"type":"person"}', mode="normal", batch_size=2)
    one.to_the_end()
    assert one.ids == []
    assert one.file.read_text().startswith("9-")


def test_a_selector_in_a_database_made_anew_makes_tombstones_only_of_what_is_not_there(
    couchdb: FakeCouchdb, warehouse: Served, tmp_path: Path
) -> None:
    couchdb.write("gone", "other", type="person")
    line = RunningPipeline(tmp_path, warehouse, couchdb.port, selector='\'{"type":"person"}\'')
    line.start()
    try:
        line.await_rows(couchdb.documents())
        before = line.rows()["other"]
        couchdb.delete()
        couchdb.create()
        couchdb.write("other", type="report")
        couchdb.write("new", type="person")
        eventually(lambda: line.tombstones() == {"gone"})
        line.await_progress(rereading=False)
        assert line.rows() == {"new": couchdb.documents()["new"], "other": before}
    finally:
        line.stop()


def test_a_selector_that_the_server_refuses_is_named(
    couchdb_server: Any, couchdb_database: str, reading: Callable[..., Reading]
) -> None:
    one = reading(
        couchdb_server.port,
        db=couchdb_database,
        username=couchdb_server.user,
        password=couchdb_server.password,
        selector='{"$no":1}',
    )
    with pytest.raises(OperatorNeeded, match=r'selector \{"\$no":1\}: Invalid operator: \$no$') as refusal:
        one.to_the_end()
    assert refusal.value.hint == "Correct the option selector of couchdb_changes."


def test_a_position_that_the_server_refuses_is_not_blamed_on_the_selector(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    one = reading(selector='{"type":"person"}', initial_sequence="garbage")
    with pytest.raises(OperatorNeeded, match="Malformed sequence") as refusal:
        one.to_the_end()
    assert "accept-server" in str(refusal.value.hint)


def test_without_documents_an_event_says_which_changed_and_nothing_is_fetched(
    couchdb: FakeCouchdb, reading: Callable[..., Reading]
) -> None:
    couchdb.write("a", n=1)
    couchdb.write("b")
    couchdb.write("b", deleted=True)
    one = reading(include_docs=False, mode="normal")
    one.to_the_end()
    born = couchdb.databases["medic"].instance_start_time
    assert [
        (event.metadata["_id"], event.metadata["_rev"], event.metadata["action"]) for event in one.events
    ] == [
        ("a", f"1-{born}", "update"),
        ("b", f"2-{born}", "delete"),
    ]
    assert all(set(event.fields) == {"@timestamp", "@version"} for event in one.events)
    assert all(request.startswith("GET /medic/_changes?") for request in couchdb.requests)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"auth": "session"}, "needs username and password"),
        ({"auth": "bearer"}, 'needs the option "bearer_token"'),
        ({"bearer_token": Password("x")}, 'needs auth => "bearer"'),
        ({"auth": "bearer", "bearer_token": Password("x"), "username": "u"}, "goes without username"),
        ({"include_docs": False, "sequence_store": "postgrest"}, "needs the documents"),
        ({"include_docs": False, "keep_id": True, "keep_revision": True}, "keep_id .*; keep_revision"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(db="medic", **options)
