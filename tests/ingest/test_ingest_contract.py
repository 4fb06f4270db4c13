"""Recorded exchanges with the real PostgREST, replayed in order.

Against the embedded server always, against a real `postgrest` where POSTGREST_BIN names one.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import io
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import jwt
import psycopg2
import pytest
from free_ports import free_port
from ingest_support import Answer, Client, running, wait_until

from cht_sync import process
from cht_sync.ingest.config import IngestConfig

RECORDINGS = Path(__file__).parents[3] / "shared" / "contracts" / "postgrest"
POSTGREST = os.environ.get("POSTGREST_BIN")

IN_WORDS = "outside the subset of PostgREST that this server speaks"
OUTSIDE = {
    "csv-*": "CSV",
    "patch-*": "PATCH",
    "put-*": "PUT",
    "delete-*": "DELETE",
    "auth-delete-*": "DELETE",
    "rpc-*": "functions (test_ingest_errors.py compares the statuses of SQLSTATEs)",
    "options-rpc": "functions",
    "statement-timeout-57014": "functions (test_ingest_faults.py has the time-out of an insert)",
}
"""Exchanges that the embedded server refuses in words, by the recording's name."""
FAULTS = (
    "pool-timeout-504",
    "backend-killed-*",
    "after-backend-killed",
    "idle-backends-killed-*",
    "pg-*",
    "started-without-pg-*",
)
"""Exchanges that need a fault: test_ingest_faults.py."""
OTHER_HTTP_SERVER = {
    "raw-garbage": "waitress answers 400 before it closes the connection, Warp only closes it",
    "raw-header-too-large": "waitress calls it by its own status, 431 instead of 400",
}
"""Raw exchanges that end as recorded, but with another answer."""
PLANNED = ("get-count-planned", "get-count-estimated")
ENDS = {
    "raw-header-too-large": "\r\n\r\n",
    "raw-url-40k": " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n\r\n",
}
"""What follows in raw exchanges that were recorded shortened."""
BEFORE = {
    # Left over when the exchange was recorded.
    "raw-expect-100-continue": "insert into v1.couchdb (_id) values ('exp1')",
}
EFFECTS = {
    "delete-no-filter": "delete from v1.other",
}
"""What later exchanges see of one that is refused."""
COMPARED_HEADERS = (
    "Content-Type",
    "Content-Range",
    "Content-Location",
    "Content-Profile",
    "Location",
    "Preference-Applied",
    "Proxy-Status",
    "Retry-After",
    "WWW-Authenticate",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
)
SERVED = ("OPTIONS", "GET", "HEAD", "POST")
NEEDS_RELOAD = (
    "schema-cache-new-table-after-",
    "schema-cache-new-column-after-",
    "schema-cache-dropped-table-after-",
)
LONG_BODIES = {
    "body-20mb-single": lambda: b'{"_id":"big20","doc":{"s":"%b"}}' % (b"x" * 20_971_520),
    "body-20mb-array": lambda: (
        b"[%b]"
        % b",".join(b'{"_id":"m%d","doc":{"s":"%b"}}' % (number, b"y" * 10_000) for number in range(2050))
    ),
}


@dataclass(frozen=True)
class Backend:
    client: Client
    dsn: str
    is_embedded: bool

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def reload_schema(self, marker: str) -> None:
        """Have the schema cache read again; a table made before shows when that is done."""
        self.execute(f'CREATE TABLE v1."{marker}" (x int)')
        self.execute("NOTIFY pgrst, 'reload schema'")
        wait_until(lambda: self.client.send("OPTIONS", f"/{marker}").status == 200)
        self.execute(f'DROP TABLE v1."{marker}"')


def recordings() -> list[Path]:
    return sorted(RECORDINGS.glob("[0-9]*.json"))


def is_like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@pytest.fixture(scope="module")
def contract_database(postgres_server: Any) -> Iterator[str]:
    """A database as it was when the exchanges were recorded."""
    if not recordings():
        pytest.skip("the recorded exchanges are not here (shared/contracts/postgrest)")
    owner = contextlib.closing(psycopg2.connect(postgres_server.dsn()))
    with owner as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create database postgrest_contract")
            dsn = postgres_server.dsn("postgrest_contract")
            with contextlib.closing(psycopg2.connect(dsn)) as inside, inside.cursor() as inside_cursor:
                inside_cursor.execute((RECORDINGS / "schema.sql").read_text())
                inside.commit()
            yield dsn
            cursor.execute("drop database postgrest_contract with (force)")
            cursor.execute("drop role if exists authenticator, anon, ingest, postgres_ro")


@contextlib.contextmanager
def real_postgrest(config: IngestConfig, folder: Path) -> Iterator[int]:
    port = free_port()
    environment = {
        **os.environ,
        "PGRST_DB_URI": config.db_uri,
        "PGRST_DB_SCHEMAS": ",".join(config.schemas),
        "PGRST_DB_ANON_ROLE": config.anon_role or "",
        "PGRST_JWT_SECRET": config.jwt_secret or "",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
    }
    started = process.start([str(POSTGREST)], log=folder / "postgrest.log", env=environment)
    try:
        yield port
    finally:
        process.stop(process.ProcessId.of(started.pid))
        started.wait()


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        pytest.param(
            "postgrest", marks=pytest.mark.skipif(not POSTGREST, reason="POSTGREST_BIN names no binary")
        ),
    ],
)
def backend(
    request: pytest.FixtureRequest,
    contract_database: str,
    postgres_server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backend]:
    where = f"{postgres_server.host}:{postgres_server.port}"
    config = IngestConfig(
        db_uri=f"postgresql://authenticator:secret@{where}/postgrest_contract",
        schemas=("v1",),
        anon_role="anon",
        jwt_secret=json.loads((RECORDINGS / "token.json").read_text())["secret"],
        port=0,
    )
    folder = tmp_path_factory.mktemp("postgrest")
    start = running(config) if request.param == "embedded" else real_postgrest(config, folder)
    with start as port:
        backend = Backend(Client(port), contract_database, request.param == "embedded")

        def ready() -> bool:
            with contextlib.suppress(OSError):
                return backend.client.get("/").status == 200
            return False

        wait_until(ready)
        yield backend


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_the_answer_is_the_recorded_one(backend: Backend, path: Path) -> None:
    recorded = json.loads(path.read_text())
    name = recorded["name"]
    if recorded.get("setup_sql"):
        backend.execute(recorded["setup_sql"])
    if name.startswith(NEEDS_RELOAD):
        backend.reload_schema(f"marker_{recorded['seq']}")
    if is_like(name, FAULTS):
        pytest.skip("needs a fault: test_ingest_faults.py")
    if name in BEFORE:
        backend.execute(BEFORE[name])
    if is_like(name, OUTSIDE):
        if backend.is_embedded:
            answer = send(backend.client, recorded)
            assert answer.status in (400, 404, 405, 406)
            assert request_is_head(recorded) or IN_WORDS in answer.body.decode()
        if name in EFFECTS:
            backend.execute(EFFECTS[name])
        return
    if "raw" in recorded["request"]:
        compare_raw(backend, recorded)
        return
    answer = send(backend.client, recorded)
    expected = recorded["response"]
    if name in PLANNED:
        # The planner's guess depends on the version of PostgreSQL and on earlier statistics.
        [([explained],)] = backend.execute("explain (format json) select 1 from v1.couchdb")
        expected["headers"]["Content-Range"] = f"0-0/{explained['Plan']['Plan Rows']}"
    if expected is not None:
        compare(backend, answer, expected)
    if recorded.get("after"):
        [(rows,)] = backend.execute(recorded["after"]["sql"])
        assert parsed_rows(rows) == parsed_rows(recorded["after"]["result"])


def request_is_head(recorded: dict[str, Any]) -> bool:
    return bool(recorded["request"]["method"] == "HEAD")


def compare(backend: Backend, answer: Answer, expected: dict[str, Any]) -> None:
    """Status, headers and body are the recorded ones."""
    assert answer.status == expected["status"], answer.body
    headers = {key.title(): value for key, value in answer.headers.items()}
    assert {key: headers.get(key.title()) for key in COMPARED_HEADERS} == {
        key: expected["headers"].get(key) for key in COMPARED_HEADERS
    }
    if "Allow" in expected["headers"]:
        # The embedded server names what it does.
        allowed = expected["headers"]["Allow"].split(",")
        assert headers["Allow"].split(",") == [
            method for method in allowed if method in SERVED or not backend.is_embedded
        ]
    if headers.get("Content-Type", "").startswith("application/openapi"):
        assert tables_of(parsed(answer.body)) == tables_of(parsed(expected["body"].encode()))
    else:
        assert parsed(answer.body) == parsed(expected["body"].encode())


def tables_of(document: Any) -> Any:
    """What an OpenAPI document says of reading and inserting; it also has its maker's version and
    address, functions, and the methods that the embedded server refuses."""
    if not document:
        return document
    paths = {
        path: {method: what for method, what in item.items() if method in ("get", "post")}
        for path, item in document["paths"].items()
        if not path.startswith("/rpc/")
    }
    types = {
        key: [one for one in document[key] if not one.startswith("text/csv")]
        for key in ("consumes", "produces")
    }
    info = {key: value for key, value in document["info"].items() if key != "version"}
    return {**document, **types, "paths": paths, "info": info, "host": "host:port"}


def compare_raw(backend: Backend, recorded: dict[str, Any]) -> None:
    """Send the recorded bytes over a connection of their own, and read what comes back."""
    request, name = recorded["request"], recorded["name"]
    sent = request["raw"].encode()
    if len(sent) < request["raw_length"]:
        # Recorded only to the middle of a long run of one letter.
        token = json.loads((RECORDINGS / "token.json").read_text())["token_ingest"]
        end = ENDS[name].replace("TOKEN", token).encode()
        sent = sent.ljust(request["raw_length"] - len(end), b"a") + end
    answers = []
    with socket.create_connection(("127.0.0.1", backend.client.port), timeout=20) as connection:
        received = connection.makefile("rb")
        connection.sendall(sent)
        if name == "raw-expect-100-continue":
            first = one_answer(received)
            assert first is not None
            assert first.status == 100
            connection.sendall(b'{"_id":"exp1"}')
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR) if name == "raw-bad-content-length" else None
        expected = expected_answers(recorded["response"])
        while (answer := one_answer(received)) is not None:
            answers.append(answer)
            if len(answers) == len(expected):
                break
    if name in OTHER_HTTP_SERVER and backend.is_embedded:
        assert [answer.status for answer in answers] in ([400], [431])
        return
    assert len(answers) == len(expected)
    for answer, wanted in zip(answers, expected, strict=True):
        compare(backend, answer, wanted)
    if name == "raw-bad-content-length":
        assert backend.execute("select count(*) from v1.couchdb where _id = 'short'") == [(0,)]


def expected_answers(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The recorded answers, without an interim one."""
    text = response["raw"].encode().partition(b"<<client now sends the body>>")
    stream = io.BytesIO(text[2] or text[0])
    answers = []
    while (answer := one_answer(stream)) is not None:
        headers = dict(answer.headers)
        answers.append({"status": answer.status, "headers": headers, "body": answer.body.decode()})
    return answers


def one_answer(stream: IO[bytes]) -> Answer | None:
    """Read one answer; None at the end."""
    line = stream.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = {}
    while header := stream.readline().strip():
        key, _, value = header.decode().partition(": ")
        headers[key] = value
    length = headers.get("Content-Length")
    if status == 100:
        return Answer(status, headers, b"")
    return Answer(status, headers, stream.read(int(length)) if length is not None else stream.read())


def send(client: Client, recorded: dict[str, Any]) -> Any:
    request = recorded["request"]
    headers = {name: value for name, value in request["headers"].items() if name != "Host"}
    if seconds := re.search(r"expired-(\d+)s-ago", recorded["name"]):
        headers["Authorization"] = f"Bearer {expired(int(seconds[1]))}"
    return client.send(request["method"], request["path"], body(recorded), headers=headers)


def expired(seconds: int) -> str:
    """A token like the recorded one, which has expired as long ago as that one had then."""
    secret = json.loads((RECORDINGS / "token.json").read_text())["secret"]
    return jwt.encode({"role": "ingest", "exp": int(time.time()) - seconds}, secret, algorithm="HS256")


def body(recorded: dict[str, Any]) -> bytes | None:
    sent = recorded["request"]["body"]
    shortened = recorded["request"].get("body_truncated")
    if shortened:
        if recorded["name"] not in LONG_BODIES:
            pytest.skip("the recording keeps only the beginning of the body")
        whole = LONG_BODIES[recorded["name"]]()
        assert hashlib.sha256(whole).hexdigest() == shortened["sha256"]
        return whole
    if isinstance(sent, dict):
        return base64.b64decode(sent["base64"])
    return None if sent is None else sent.encode()


def parsed(text: bytes) -> Any:
    """JSON where it is JSON: the order of members is not compared."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and isinstance(value.get("hint"), str):
        # PostgreSQL 18 writes the names of settings in another case than the recorded version.
        value["hint"] = value["hint"].lower()
    return value


def parsed_rows(value: Any) -> Any:
    if not isinstance(value, str):
        return parsed_rows(json.dumps(value))
    try:
        return json.loads(value)
    except ValueError:
        return value
