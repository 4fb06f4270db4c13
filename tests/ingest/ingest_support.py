"""The ingest server on a real PostgreSQL, and a client that sends exactly what it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import psycopg2

from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.server import serve

SECRET = "a-secret-of-tests-that-is-long-enough-0123456789"
READY_TIMEOUT = 20.0

SCHEMA = """
CREATE SCHEMA v1;
CREATE TABLE v1.docs (_id text PRIMARY KEY, _rev text, doc jsonb);
CREATE TABLE v1."medic/users-$(x)%s" (_id text PRIMARY KEY, "a%b" text);
CREATE TABLE v1.seen (name text PRIMARY KEY, value text);
CREATE FUNCTION v1.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO v1.seen SELECT name, current_setting(name, true)
    FROM unnest(ARRAY['request.headers', 'request.jwt.claims', 'request.method', 'request.path',
                      'request.cookies', 'role', 'lock_timeout', 'search_path', 'application_name']) AS name
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
  IF current_setting('request.headers', true)::json ->> 'x-epoch' = '1' THEN
    RAISE EXCEPTION 'a later writer holds the source' USING errcode = 'PT409', detail = 'epoch 1 < 2';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER note BEFORE INSERT ON v1.docs FOR EACH STATEMENT EXECUTE FUNCTION v1.note();
CREATE TABLE v1.strict (id int PRIMARY KEY, other int REFERENCES v1.strict DEFERRABLE INITIALLY DEFERRED);
GRANT USAGE ON SCHEMA v1 TO {ingest};
GRANT SELECT, INSERT, UPDATE ON v1.docs, v1.strict, v1."medic/users-$(x)%s" TO {ingest};
ALTER ROLE {ingest} SET lock_timeout = '1234ms';
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


@dataclass(frozen=True)
class Client:
    """Sends requests to a server on loopback; each on a connection of its own."""

    port: int
    token: str | None = None

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """`body` is sent as it is when it is bytes, else as JSON."""
        sent = dict(headers or {})
        if (token or self.token) and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {token or self.token}"
        data = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            chunked = "Transfer-Encoding" in sent
            connection.request(method, path, [data or b""] if chunked else data, sent, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path, body, headers=named)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send(
            "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )


def wait_until(true: Callable[[], bool], *, timeout: float = READY_TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)


@contextlib.contextmanager
def running(config: IngestConfig) -> Iterator[int]:
    """Run the server in a thread and give its port; afterwards it has stopped in order."""
    stop = threading.Event()
    ports: queue.Queue[int] = queue.Queue()
    thread = threading.Thread(target=serve, args=(config, stop, ports.put), daemon=True)
    thread.start()
    try:
        yield ports.get(timeout=READY_TIMEOUT)
    finally:
        stop.set()
        thread.join(READY_TIMEOUT)
        assert not thread.is_alive()


def token(role: str, **claims: object) -> str:
    return jwt.encode({"role": role, **claims}, SECRET, algorithm="HS256")


@dataclass(frozen=True)
class Installation:
    """A database with roles of its own, and the settings of a server for it."""

    dsn: str
    ingest_role: str
    config: IngestConfig

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL as the owner and return what it answers."""
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    def client(self, port: int) -> Client:
        return Client(port, token(self.ingest_role))


def install(dsn: str, name: str, host: str, port: int) -> Installation:
    """Create roles named after `name`, the schema and its grants in the database at `dsn`."""
    ingest = f"{name}_ingest"
    installation = Installation(
        dsn,
        ingest,
        IngestConfig(
            db_uri=f"postgresql://{name}_authenticator:secret@{host}:{port}/{dsn.rpartition('/')[2]}",
            schemas=("v1",),
            anon_role=f"{name}_anon",
            jwt_secret=SECRET,
            port=0,
            pool_patience=10,
        ),
    )
    installation.execute(
        f"CREATE ROLE {name}_authenticator NOINHERIT LOGIN PASSWORD 'secret';"
        f"CREATE ROLE {name}_anon NOLOGIN; CREATE ROLE {ingest} NOLOGIN;"
        f"GRANT {name}_anon, {ingest} TO {name}_authenticator;"
    )
    installation.execute(SCHEMA.replace("{ingest}", ingest))
    return installation


@contextlib.contextmanager
def installed(server: Any) -> Iterator[Installation]:
    """A database of its own on the server of the fixture `postgres_server`, gone afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with contextlib.closing(psycopg2.connect(server.dsn())) as owner, owner.cursor() as cursor:
        owner.autocommit = True
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield install(server.dsn(name), name, server.host, server.port)
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            cursor.execute(f"DROP ROLE IF EXISTS {name}_authenticator, {name}_anon, {name}_ingest")
