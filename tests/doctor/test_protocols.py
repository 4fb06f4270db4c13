"""What a port speaks is told by a few harmless bytes."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from contextlib import closing

import pytest
from couchdb_fixture import CouchDBServer
from free_ports import free_port
from loopback_server import serving
from postgres_fixture import PostgresServer

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


def test_who_is_silent_is_as_good_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs must not be taken for another one."""
    monkeypatch.setattr(protocols, "TIMEOUT", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        assert spoken("127.0.0.1", silent.getsockname()[1]) is None


class _Banner(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"220 mail.example.org\r\n")
        self.request.recv(100)


def test_who_speaks_first_is_something_else() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Banner) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            assert spoken("127.0.0.1", server.server_address[1]) is Protocol.OTHER
        finally:
            server.shutdown()
            thread.join()
