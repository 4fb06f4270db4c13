"""Starting and stopping the ingest server."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2.extensions
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from cht_sync.accepting import PatientAccepting
from cht_sync.errors import ServiceError
from cht_sync.ingest import connections
from cht_sync.ingest.admin import AdminApp
from cht_sync.ingest.app import IngestApp
from cht_sync.ingest.config import MEBIBYTE, IngestConfig
from cht_sync.ingest.memory import keep_little
from cht_sync.ingest.metrics import Metrics
from cht_sync.ingest.pool import Pool, connect
from cht_sync.ingest.schema_cache import SchemaCache
from cht_sync.logs import fields

logger = logging.getLogger(__name__)

WaitressMap = Any
"""A dict of dispatchers by file descriptor; the published type stubs say otherwise."""

SERVICE = "postgrest"
"""The name of the service whose place this server takes."""
IDENT = "cht-sync-ingest"
LOOP_TIMEOUT = 0.2
"""Seconds after which the loop looks at `stop` when nothing else wakes it."""
DRAIN_PATIENCE = 10.0
"""Seconds that running requests get after `stop`."""
BODY_IN_MEMORY = 4 * MEBIBYTE
"""Bytes of one body that stay in memory while it arrives; what is longer waits in a file."""
DRAINED_BODY = 1024 * MEBIBYTE
"""Bodies above the limit are still received up to here, so that their sender reads the 413; a
connection that is closed under a sender looks like an outage, which it would try again for ever."""
RECEIVE_BYTES = 256 * 1024
HEADER_BYTES = 50 * 1024
"""As in PostgREST's HTTP server, so that no request passes here that would not pass there."""
WAITING = 10
"""Requests that can wait for a connection, and be told when none becomes free."""


def serve(config: IngestConfig, stop: threading.Event, on_ready: Callable[[int], None] | None = None) -> None:
    """Answer requests until `stop` is set, then let the running ones finish.

    Returns after that. `on_ready` is called with the port once the server listens; while
    PostgreSQL is not there it answers 503. Raises ServiceError when the address cannot be had.
    """

    def open_connection() -> psycopg2.extensions.connection:
        return connect(config.db_uri)

    keep_little()
    # Says of every request that waits for a thread that it does.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    listener = _listen(config.host, config.port, "PGRST_SERVER_PORT")
    config = replace(config, port=listener.getsockname()[1])
    admin_listener = (
        None
        if config.admin_port is None
        else _listen(config.admin_host, config.admin_port, "PGRST_ADMIN_SERVER_PORT")
    )
    limit = connections.most()
    cache = SchemaCache(open_connection, config.schemas, config.channel)
    follower = threading.Thread(target=cache.follow, args=(stop,), name="schema-cache", daemon=True)
    with closing(Pool(open_connection, size=config.pool_size, patience=config.pool_patience)) as pool:
        metrics = Metrics(pool, cache)
        sockets: WaitressMap = {}
        app = IngestApp(config, cache, pool, metrics)
        server: Any = create_server(
            app,
            map=sockets,
            sockets=[listener],
            ident=IDENT,
            threads=config.pool_size + WAITING,
            max_request_body_size=DRAINED_BODY,
            inbuf_overflow=BODY_IN_MEMORY,
            recv_bytes=RECEIVE_BYTES,
            max_request_header_size=HEADER_BYTES,
            connection_limit=limit,
            # Reads on while a request runs, and so sees that its client has gone.
            channel_request_lookahead=1,
        )
        servers = [server]
        server.channel_class = _Channel
        if admin_listener is not None:
            admin = AdminApp(cache, metrics)
            servers.append(
                create_server(admin, map=sockets, sockets=[admin_listener], ident=IDENT, threads=1)
            )
        doors = [PatientAccepting(one) for one in servers]
        follower.start()
        logger.info(
            "listening on %s port %d",
            config.host,
            config.port,
            extra=fields(event="listening", host=config.host, port=config.port),
        )
        try:
            if on_ready is not None:
                on_ready(config.port)
            while not stop.is_set():
                wasyncore.loop(LOOP_TIMEOUT, use_poll=True, map=sockets, count=1)
                connections.make_room(server, limit)
                for door in doors:
                    door.look()
                app.look()
                if not follower.is_alive() and not stop.is_set():
                    raise ServiceError(SERVICE, "the thread that follows the schema ended unexpectedly")
        finally:
            _drain(servers, sockets)
            app.look(at_end=True)
    follower.join()


class _Parser(HTTPRequestParser):  # type: ignore[misc, unused-ignore]
    path = ""
    """waitress names it in its log, also of a request that was no HTTP and has none."""


class _Channel(HTTPChannel):  # type: ignore[misc, unused-ignore]
    parser_class = _Parser


def _listen(host: str, port: int, variable: str) -> socket.socket:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        raise ServiceError(
            SERVICE,
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint=f"set {variable} to a free one",
        ) from error


def _drain(servers: list[Any], sockets: WaitressMap) -> None:
    """Take no new connections, close the idle ones, let running requests finish, then end."""
    for server in servers:
        # Not server.close(): that would also close the trigger by which answers reach the loop.
        wasyncore.dispatcher.close(server)
    deadline = time.monotonic() + DRAIN_PATIENCE
    while any(server.active_channels for server in servers) and time.monotonic() < deadline:
        for channel in [one for server in servers for one in server.active_channels.values()]:
            if not channel.requests and not channel.total_outbufs_len:
                channel.will_close = True
        wasyncore.loop(LOOP_TIMEOUT, use_poll=True, map=sockets, count=1)
    for server in servers:
        server.task_dispatcher.shutdown(timeout=1)
    wasyncore.close_all(sockets)
