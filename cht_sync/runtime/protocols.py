"""Which protocol a port speaks: said where something else answers than what was expected.

Nothing that is secret is sent. Sources: RFC 8446 for TLS, RFC 9112 for HTTP, PostgreSQL's documentation,
"Message Formats", for SSLRequest, which every version answers with one byte.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing
from enum import StrEnum

TIMEOUT = 3.0
"""Seconds for a connection, and for an answer."""
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Protocol(StrEnum):
    """What answers at a port; a server of HTTP inside TLS counts as `https`, as any with TLS does."""

    HTTP = "http"
    HTTPS = "https"
    POSTGRESQL = "PostgreSQL"
    OTHER = "neither http nor https nor PostgreSQL"


def spoken(host: str, port: int) -> Protocol | None:
    """Return what answers; None where nobody does: nobody listens, is reached, or says anything."""
    try:
        if _speaks_tls(host, port):
            return Protocol.HTTPS
        as_http = _answer(host, port, b"GET / HTTP/1.0\r\n\r\n", 5)
        if as_http == b"HTTP/":
            return Protocol.HTTP
        as_postgresql = _answer(host, port, SSL_REQUEST, 1)
    except OSError:
        return None
    if as_postgresql in (b"S", b"N"):
        return Protocol.POSTGRESQL
    return Protocol.OTHER if as_http or as_postgresql else None


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Only asked whether there is TLS; nothing is sent, so whose it is does not matter.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with closing(_connected(host, port)) as connection:
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except OSError:
            return False
    return True


def _answer(host: str, port: int, question: bytes, length: int) -> bytes:
    """The first bytes of what is said to the question; empty where nothing is said in time."""
    said = b""
    with closing(_connected(host, port)) as connection:
        try:
            connection.sendall(question)
            while len(said) < length and (more := connection.recv(length - len(said))):
                said += more
        except OSError:
            return said
    return said


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host.strip("[]"), port), timeout=TIMEOUT)
