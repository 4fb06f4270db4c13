"""What a port speaks is told by a few harmless bytes."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing

from couchdb_fixture import CouchDBServer
from loopback_server import serving
from postgres_fixture import PostgresServer, free_port

from cht_sync.runtime import protocols
from cht_sync.runtime.protocols import Protocol, spoken
from doctor.before_couchdb import BeforeCouchdb


def test_http_and_postgresql_are_told_apart(
    couchdb_server: CouchDBServer, postgres_server: PostgresServer
) -> None:
    assert spoken(couchdb_server.host, couchdb_server.port) is Protocol.HTTP
    assert spoken(postgres_server.host, postgres_server.port) is Protocol.POSTGRESQL


def test_tls_is_told(tls: ssl.SSLContext) -> None:
    server = BeforeCouchdb("nowhere")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        assert spoken("127.0.0.1", server.port) is Protocol.HTTPS


def test_nobody_speaks_nothing() -> None:
    assert spoken("127.0.0.1", free_port()) is None
    assert spoken("no-such-host.invalid", 80) is None


def test_who_says_nothing_is_something_else(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(protocols, "TIMEOUT", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        assert spoken("127.0.0.1", silent.getsockname()[1]) is Protocol.OTHER
