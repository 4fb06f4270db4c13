"""Servers with TLS: certificates that are made here, a PostgreSQL that shows one, a proxy before others."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from free_ports import free_port
from postgres_fixture import DEBIAN, PostgresServer, programs_of
from waiting import eventually

from cht_sync import process
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.service import inherited_environment


class Certificate(NamedTuple):
    """Two PEM files of a server."""

    chain: Path
    key: Path


class Certificates(NamedTuple):
    """`authority` has signed all of them, `stranger` none."""

    authority: Path
    stranger: Path
    good: Certificate
    expired: Certificate
    other_host: Certificate


def make_certificates(folder: Path) -> Certificates:
    """Make them for 127.0.0.1 and localhost, but for one."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")

    def issue(name: str, *hosts: str, not_after: datetime | None = None) -> Certificate:
        issued = authority.issue_cert(*hosts, not_after=not_after)
        files = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(files.chain, append=True)
        issued.private_key_pem.write_to_path(files.key)
        return files

    return Certificates(
        folder / "ca.pem",
        folder / "stranger.pem",
        issue("good", "127.0.0.1", "localhost"),
        issue("expired", "127.0.0.1", "localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
        issue("other_host", "couchdb.example.org"),
    )


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """What a server shows."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate.chain, certificate.key)
    return made


@contextmanager
def tls_postgres(folder: Path, certificate: Certificate) -> Iterator[PostgresServer]:
    """A PostgreSQL of Debian's, since the wheel's is built without TLS; skips where there is none."""
    programs = programs_of(DEBIAN)
    if programs is None:
        pytest.skip("needs a PostgreSQL of Debian: the wheel's is built without TLS")
    server = PostgresServer("127.0.0.1", free_port(), "owner", secrets.token_hex(8), programs)
    service = Postgres(
        folder / "cluster", port=server.port, user=server.user, password=server.password, programs=programs
    )
    service.prepare(lambda _text: None)
    data = folder / "cluster" / "data"
    owner = data.stat()
    for source, name in ((certificate.chain, "server.crt"), (certificate.key, "server.key")):
        (data / name).write_bytes(source.read_bytes())
        (data / name).chmod(0o600)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    running = process.start(
        [*service.command(), "-c", "ssl=on", "-c", "fsync=off"],
        log=folder / "postgres.log",
        env={**inherited_environment(), **service.environment()},
    )
    identity = process.ProcessId.of(running.pid)
    try:
        eventually(service.ready)
        yield server
    finally:
        process.stop(identity, ask=service.stop_signal, patience=service.patience)
        running.wait()


@contextmanager
def tls_proxy(certificate: Certificate, target: int) -> Iterator[int]:
    """Speaks TLS on the port that is given, and passes on what it hears to `target` on loopback."""
    context = server_context(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                sink.sendall(part)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(connection, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", target)) as inside,
        ):
            back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
            back.start()
            pump(outside, inside)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        # Wakes up accept, which a close alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
