"""Serving the monitoring API beside the pipelines, in a thread of its own."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from waitress import wasyncore
from waitress.server import create_server

from cht_sync.accepting import PatientAccepting
from cht_sync.errors import ServiceError
from cht_sync.logs import fields
from cht_sync.pipeline.monitor.app import MonitorApp
from cht_sync.pipeline.monitor.flows import Flows
from cht_sync.pipeline.monitor.host import Host
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.monitor.node import Node

log = logging.getLogger(__name__)

SERVICE = "logstash"
"""The name of the service that pipelines are, in errors."""
IDENT = "cht-sync"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORTS = range(9600, 9701)
THREADS = 4
CONNECTIONS = 50
IDLE_TIMEOUT = 10
"""Seconds after which a connection that says nothing makes room for others."""
MOST_BYTES = 1 << 16
"""Of a request."""
EVERY = 5.0
"""Seconds between two captures of the counters, as in Logstash."""
LOOP_TIMEOUT = 1.0
LAST_REQUESTS = 2.0
"""Seconds that running requests get at the end."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Monitor:
    """Where the API listens."""

    host: str
    port: int


def ports(text: str) -> range:
    """Read `api.http.port`: one port, or a range as `9600-9700`. Raises ValueError."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    try:
        found = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        found = range(0)
    if not found or not 1 <= found.start <= found.stop - 1 <= 65_535:
        raise ValueError(f"{text!r} is no port and no range of ports, as 9600-9700")
    return found


@contextmanager
def serve_monitor(
    registry: Registry,
    *,
    host: str = DEFAULT_HOST,
    ports: Sequence[int] = DEFAULT_PORTS,
    node: Node | None = None,
    data_folder: Path = Path(),
) -> Iterator[Monitor]:
    """Serve the API on the first free one of `ports` until the block ends.

    `node` is how it shows itself, `data_folder` where the pipelines write. Raises ServiceError when no port
    can be had.
    """
    listener = _listen(host, ports)
    port = listener.getsockname()[1]
    shown = replace(node or Node(""), http_address=f"{host}:{port}")
    thread = _Thread(registry, shown, listener, Host(data_folder))
    log.info(
        "monitoring API on %s port %d",
        host,
        port,
        extra=fields(event="listening", host=host, port=port),
    )
    if host not in LOOPBACK:
        log.warning("the monitoring API has no login; whoever reaches %s port %d reads it", host, port)
    thread.start()
    try:
        yield Monitor(host, port)
    finally:
        thread.close()


class _Thread(threading.Thread):
    """Runs the server's loop, and captures the counters in between."""

    def __init__(self, registry: Registry, node: Node, listener: socket.socket, host: Host) -> None:
        super().__init__(name="monitoring API", daemon=True)
        # Says of every request that waits for a thread that it does.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._host = host
        self._flows = Flows(registry)
        self._app = MonitorApp(registry, node, self._flows, self._host)
        self._sockets: Any = {}
        self._server: Any = create_server(
            self._app,
            map=self._sockets,
            sockets=[listener],
            ident=IDENT,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE_TIMEOUT,
            cleanup_interval=IDLE_TIMEOUT,
            max_request_body_size=MOST_BYTES,
            max_request_header_size=MOST_BYTES,
        )
        self._door = PatientAccepting(self._server)
        self._stopping = threading.Event()
        self._pulled = threading.Event()

    def run(self) -> None:
        captured = 0.0
        while not self._stopping.is_set():
            wasyncore.loop(LOOP_TIMEOUT, use_poll=True, map=self._sockets, count=1)
            self._door.look()
            if time.monotonic() - captured >= EVERY:
                captured = time.monotonic()
                self._capture()
        # An answer may have woken the loop first; who is about to pull the trigger must still find it.
        self._pulled.wait(LOOP_TIMEOUT)
        wasyncore.dispatcher.close(self._server)
        end = time.monotonic() + LAST_REQUESTS
        while self._is_answering() and time.monotonic() < end:
            wasyncore.loop(0.05, use_poll=True, map=self._sockets, count=1)
        self._server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._sockets)

    def _capture(self) -> None:
        self._flows.capture()
        try:
            self._host.sample()
        except (OSError, psutil.Error) as error:
            # As where no file can be opened any more: the API shall tell just that.
            log.debug("the process cannot be looked at: %s", error)

    def close(self) -> None:
        """Answer what is being asked, then end."""
        self._app.stop.set()
        # In the loop, which would else close the trigger before it is pulled.
        self._server.trigger.pull_trigger(self._stopping.set)
        self._pulled.set()
        self.join(LAST_REQUESTS + 2)

    def _is_answering(self) -> bool:
        channels = self._server.active_channels.values()
        return any(one.requests or one.total_outbufs_len for one in channels)


def _listen(host: str, ports: Sequence[int]) -> socket.socket:
    problem: OSError | None = None
    for port in ports:
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            return socket.create_server(address[4][:2], family=address[0])
        except OSError as error:
            problem = error
            if error.errno != errno.EADDRINUSE:
                break
    shown = f"port {ports[0]}" if len(ports) == 1 else f"any port from {ports[0]} to {ports[-1]}"
    raise ServiceError(
        SERVICE,
        f"the monitoring API cannot listen on {host}, {shown}: {_reason(problem)}",
        hint="Give another one with --api.http.port, or leave the API out with --api.enabled false.",
    )


def _reason(problem: OSError | None) -> str:
    return str(problem and (problem.strerror or problem))
