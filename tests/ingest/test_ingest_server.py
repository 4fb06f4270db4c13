"""What surrounds requests: the log, the admin server, the description of the tables, memory."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from ingest_support import SECRET, Client, Installation, running, wait_until

from cht_sync import process
from cht_sync.ingest import payload
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.messages import Body

DOCS = "/docs?columns=_id,_rev,doc"
ONE = [{"_id": "d1", "_rev": "1-a", "doc": {}}]
MEGABYTE = 1024 * 1024


def test_with_columns_the_body_is_read_by_nobody_but_postgres(
    server: Client, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the body was read")

    monkeypatch.setattr(payload, "_parsed", refuse)
    monkeypatch.setattr(payload, "_decoder", None)
    monkeypatch.setattr(Body, "read", refuse)
    assert server.post("/docs", ONE).status == 500
    assert server.post(DOCS, ONE).status == 201
    assert server.post(DOCS, b'[{"_id": nonsense').code == "22P02"
    assert installation.execute("SELECT _id FROM v1.docs") == [("d1",)]


TELLING = ("cht_sync.ingest.app", "cht_sync.ingest.failed_requests")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("crit", []),
        ("error", []),
        ("warn", ["GET of an unknown path: 404 PGRST205"]),
        ("info", ["GET /docs: 200", "GET of an unknown path: 404 PGRST205"]),
    ],
)
def test_the_log_has_a_line_for_each_request_of_its_level(
    installation: Installation, caplog: pytest.LogCaptureFixture, level: str, expected: list[str]
) -> None:
    with running(dataclasses.replace(installation.config, log_level=level)) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="cht_sync.ingest"):
            client.get("/docs?_id=eq.secret")
            client.get("/nowhere?x=eq.secret")
        assert [record.message for record in caplog.records if record.name in TELLING] == expected


def test_a_hundred_requests_that_fail_alike_are_one_line(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    with running(dataclasses.replace(installation.config, log_level="warn")) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        caplog.clear()
        for _ in range(100):
            assert client.get("/nowhere").status == 404
        assert client.post("/nowhere", ONE).status == 404
        said = [record.message for record in caplog.records if record.name in TELLING]
        assert said == ["GET of an unknown path: 404 PGRST205", "POST of an unknown path: 404 PGRST205"]
    assert "GET of an unknown path: 404 PGRST205 (99 times since it was said last)" in caplog.messages


def test_nobody_without_a_token_keeps_a_refusal_out_of_the_log(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    with running(dataclasses.replace(installation.config, log_level="warn")) as port:
        client = installation.client(port)
        anybody = Client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        caplog.clear()
        for number in range(130):
            assert anybody.get(f"/nowhere-{number}").status == 404
            assert anybody.get(f"/nowhere/{number}").status == 404
            assert anybody.get(f"/rpc/nothing-{number}").status == 404
        assert client.post("/strict", {"id": "x"}).code == "22P02"
    said = [record.message for record in caplog.records if record.name in TELLING]
    assert "POST /strict: 400 22P02" in said
    assert len(said) < 10
    assert "nowhere" not in caplog.text


def test_a_table_that_fails_does_not_recover_when_another_one_works(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.execute(
        "CREATE FUNCTION v1.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no' USING ERRCODE = 'XX000'; END $$"
    )
    installation.execute("CREATE TRIGGER refuse BEFORE INSERT ON v1.docs EXECUTE FUNCTION v1.refuse()")
    try:
        with running(dataclasses.replace(installation.config, log_level="warn")) as port:
            client = installation.client(port)
            wait_until(lambda: client.get("/strict").status == 200)
            caplog.clear()
            for _ in range(5):
                assert client.post(DOCS, ONE).status == 500
                assert client.get("/strict").status == 200
            said = [record.message for record in caplog.records if record.name in TELLING]
            assert said == ["POST /docs: 500 XX000"]
            installation.execute("DROP TRIGGER refuse ON v1.docs")
            assert client.post(DOCS, ONE).status == 201
            wait_until(lambda: "POST /docs: answered again" in caplog.text)
    finally:
        installation.execute("DROP FUNCTION v1.refuse() CASCADE")


def test_a_request_that_waits_for_a_thread_is_nothing_to_log(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = logging.getLogger("waitress.queue")
    monkeypatch.setattr(queue, "level", logging.NOTSET)
    with running(installation.config):
        assert not queue.isEnabledFor(logging.WARNING)


def test_a_refused_document_is_not_in_the_log(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    with running(dataclasses.replace(installation.config, log_level="debug")) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        assert client.post("/strict", {"id": "secret"}).code == "22P02"
    assert "22P02" in caplog.text
    assert "secret" not in caplog.text


def test_the_admin_server_says_whether_the_schema_is_known(installation: Installation) -> None:
    admin = Client(free_port())
    config = dataclasses.replace(installation.config, admin_port=admin.port)
    with running(config) as port:
        wait_until(lambda: installation.client(port).get("/docs").status == 200)
        assert [admin.get(path).status for path in ("/live", "/ready", "/other")] == [200, 200, 404]
        assert admin.get("/live").body == b""
    nowhere = f"postgresql://x:y@127.0.0.1:{free_port()}/nothing"
    with running(dataclasses.replace(config, db_uri=nowhere)):
        assert [admin.get(path).status for path in ("/live", "/ready")] == [200, 503]


@pytest.fixture
def described(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Client]:
    with running(dataclasses.replace(installation.config, openapi_mode=request.param)) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        yield client


def paths(client: Client, token: str | None) -> set[str]:
    answer = Client(client.port, token).get("/")
    assert answer.status == 200
    return set(answer.json["paths"]) - {"/"}


@pytest.mark.parametrize("described", ["follow-privileges"], indirect=True)
def test_each_role_sees_the_tables_that_it_may_do_something_with(described: Client) -> None:
    assert paths(described, None) == set()
    assert paths(described, described.token) == {"/docs", "/strict", "/medic/users-$(x)%s"}


@pytest.mark.parametrize("described", ["ignore-privileges"], indirect=True)
def test_privileges_can_be_ignored(described: Client) -> None:
    assert "/seen" in paths(described, None)


@pytest.mark.parametrize("described", ["disabled"], indirect=True)
def test_the_description_can_be_switched_off(described: Client) -> None:
    for method in ("GET", "OPTIONS", "POST"):
        answer = described.send(method, "/")
        assert (answer.status, answer.code) == (404, "PGRST126")
    assert described.send("GET", "/", token="abc").status == 401


def test_descriptions_and_types_are_shown(server: Client, installation: Installation) -> None:
    installation.execute(
        "COMMENT ON TABLE v1.docs IS E'Documents\\n\\nAs they came.';"
        "COMMENT ON COLUMN v1.docs._id IS 'its name';"
        "CREATE TABLE v1.typed (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
        " word text DEFAULT 'it''s', number numeric DEFAULT 1.5, many int[], at timestamptz DEFAULT now());"
        f"GRANT SELECT ON v1.typed TO {installation.ingest_role};"
        "NOTIFY pgrst, 'reload schema'"
    )
    wait_until(lambda: server.get("/typed").status == 200)
    document: Any = server.get("/").json
    get = document["paths"]["/docs"]["get"]
    assert (get["summary"], get["description"]) == ("Documents", "As they came.")
    identity = document["definitions"]["docs"]["properties"]["_id"]
    assert identity["description"] == "its name\n\nNote:\nThis is a Primary Key.<pk/>"
    typed = document["definitions"]["typed"]["properties"]
    assert typed["id"]["format"] == "int64"
    assert typed["word"]["default"] == "it''s"
    assert typed["number"]["default"] == 1.5
    assert typed["many"] == {"format": "integer[]", "type": "array", "items": {"type": "integer"}}


def memory(pid: int, name: str) -> int:
    """Megabytes of a process: VmRSS as it is, VmHWM at its highest."""
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(name)]
    return int(line.split()[1]) // 1024


@pytest.fixture
def served(installation: Installation, tmp_path: Path) -> Iterator[tuple[Client, int]]:
    """The server in a process of its own, and that process's id."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    config: IngestConfig = installation.config
    port = free_port()
    environment = {
        **os.environ,
        "PGRST_DB_URI": config.db_uri,
        "PGRST_DB_SCHEMAS": "v1",
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_SERVER_PORT": str(port),
    }
    command = [sys.executable, "-m", "cht_sync", "ingest", "serve"]
    started = process.start(command, log=tmp_path / "log", env=environment)
    client = installation.client(port)

    def ready() -> bool:
        assert started.poll() is None, (tmp_path / "log").read_text()
        try:
            return client.get("/docs").status == 200
        except OSError:
            return False

    wait_until(ready)
    yield client, started.pid
    process.stop(process.ProcessId.of(started.pid))
    started.wait()


def test_a_document_of_64_mb_is_stored_in_bounded_memory(
    served: tuple[Client, int], installation: Installation
) -> None:
    client, pid = served
    before = memory(pid, "VmRSS")
    for size in (20, 64):
        body = b'[{"_id":"big%d","_rev":"1-a","doc":{"text":"%b"}}]' % (size, b"x" * (size * MEGABYTE))
        assert client.post(DOCS, body).status == 201
        del body
    assert installation.execute("SELECT _id, length(doc ->> 'text') FROM v1.docs ORDER BY _id") == [
        ("big20", 20 * MEGABYTE),
        ("big64", 64 * MEGABYTE),
    ]
    # The query, libpq's copy of it to remember, and its buffer to send it from.
    assert memory(pid, "VmHWM") < before + 3 * 64 + 20
    assert memory(pid, "VmRSS") < 100


def test_ordinary_batches_leave_little_memory_behind(served: tuple[Client, int]) -> None:
    client, pid = served
    for number in range(30):
        rows = [{"_id": f"{number}-{one}", "_rev": "1-a", "doc": {"x": "y" * 1_000}} for one in range(1_000)]
        assert client.post(DOCS, rows).status == 201
    assert memory(pid, "VmRSS") < 100
