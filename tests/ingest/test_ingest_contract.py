"""Recorded exchanges with the real PostgREST, replayed in order.

Against the embedded server always, against a real `postgrest` where POSTGREST_BIN names one.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg2
import pytest
from ingest_support import Client, free_port, running, wait_until

from cht_sync import process
from cht_sync.ingest.config import IngestConfig

RECORDINGS = Path(__file__).parents[3] / "shared" / "contracts" / "postgrest"
POSTGREST = os.environ.get("POSTGREST_BIN")

OUTSIDE = {
    "root-*openapi*": "the OpenAPI document is minimal",
    "*csv*": "CSV",
    "ct-form": "form bodies",
    "patch-*": "PATCH is refused",
    "put-*": "PUT is refused",
    "delete-*": "DELETE is refused",
    "auth-delete-*": "DELETE is refused",
    "rpc-*": "functions (the statuses of SQLSTATEs have a test of their own)",
    "options-rpc": "functions",
    "options-table*": "Allow names only what the server does",
    "options-cors-preflight": "no browser is a client",
    "get-origin-cors": "no browser is a client",
    "get-filter-json": "JSON paths in filters",
    "get-range-header": "the Range header is refused",
    "get-count-planned": "only exact counts",
    "get-count-estimated": "only exact counts",
    "get-nulls-stripped": "media types beside JSON and a single object",
    "get-accept-plan-disabled": "PostgREST names the plan's parameters",
    "get-aggregate-disabled": "aggregates are refused like all that is not a column",
    "statement-timeout-57014": "functions",
    "raw-*": "about the HTTP server itself",
    "pool-timeout-504": "needs a fault: test_ingest_faults.py",
    "*backend*killed*": "needs a fault: test_ingest_faults.py",
    "pg-*": "needs a fault: test_ingest_faults.py",
    "started-without-pg-*": "needs a fault: test_ingest_faults.py",
}
"""Exchanges that are not compared, by the recording's name, and why."""
EFFECTS = {
    "ct-form": "insert into v1.couchdb (_id, _rev) values ('f1', '1-f')",
    "delete-no-filter": "delete from v1.other",
}
"""What later exchanges see of one that is not sent."""
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
)
NEEDS_RELOAD = (
    "schema-cache-new-table-after-",
    "schema-cache-new-column-after-",
    "schema-cache-dropped-table-after-",
)
LONG_BODIES = {
    "body-20mb-single": lambda: b'{"_id":"big20","doc":{"s":"%b"}}' % (b"x" * 20_971_520),
}


@dataclass(frozen=True)
class Backend:
    client: Client
    dsn: str

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


def outside(name: str) -> str | None:
    return next((reason for pattern, reason in OUTSIDE.items() if fnmatch.fnmatch(name, pattern)), None)


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
        backend = Backend(Client(port), contract_database)

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
    reason = outside(name)
    if reason:
        if name in EFFECTS:
            backend.execute(EFFECTS[name])
        pytest.skip(f"outside the subset: {reason}")
    answer = send(backend.client, recorded)
    expected = recorded["response"]
    if expected is None:
        return
    assert answer.status == expected["status"], answer.body
    if answer.headers.get("Content-Type", "").startswith("application/openapi"):
        return
    headers = {key.title(): value for key, value in answer.headers.items()}
    assert {key: headers.get(key.title()) for key in COMPARED_HEADERS} == {
        key: expected["headers"].get(key) for key in COMPARED_HEADERS
    }
    assert parsed(answer.body) == parsed(expected["body"].encode())
    if recorded.get("after"):
        [(rows,)] = backend.execute(recorded["after"]["sql"])
        assert parsed_rows(rows) == parsed_rows(recorded["after"]["result"])


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
