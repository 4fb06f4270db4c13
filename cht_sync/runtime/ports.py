"""Which ports the embedded services listen on."""

from __future__ import annotations

import dataclasses
import errno
import random
import socket
from collections.abc import Callable, Collection
from typing import Any

from cht_sync.errors import ServiceError
from cht_sync.settings import Settings

PORT_SETTINGS = {
    "postgres": "postgres_port",
    "couchdb": "couchdb_port",
    "postgrest": "postgrest_port",
    "logstash": "logstash_api_port",
    "dbt": "dbt_metrics_port",
    "superset": "superset_port",
}
"""The setting that holds a service's port."""
LOOPBACK = ("127.0.0.1", "::1")
FOR_SERVERS = range(20_000, 32_768)
"""Below the ports that the system gives to connections (ip(7): ip_local_port_range, from 32768 on).

Of those one could be taken by any connection while its server is down; a client that tries again and again to
reach it on loopback would even be connected to itself.
"""

Take = Callable[[int], bool]
"""Takes a port for an installation; False where it belongs to somebody."""


class Reservations:
    """Ports that this process keeps for services which do not listen yet.

    A first start takes a while before the last service listens; another installation must not choose
    the same ports meanwhile. The marks are names of the abstract socket namespace (unix(7)): the kernel
    removes them with the process, however it ends.
    """

    def __init__(self) -> None:
        self._marks: list[socket.socket] = []

    def take(self, port: int, address: str = "") -> bool:
        """Keep a port that is free on loopback, and at `address`; False where somebody has it."""
        mark = _mark(port)
        if mark is None:
            return False
        if not _can_listen(port) or (address and not _can_listen_at(address, port)):
            mark.close()
            return False
        self._marks.append(mark)
        return True

    def close(self) -> None:
        """Let go of all of them."""
        while self._marks:
            self._marks.pop().close()


def is_free(port: int, address: str = "") -> bool:
    """Whether nobody listens on a port of either loopback address, nor on that of `address`, nor keeps it."""
    trial = Reservations()
    try:
        return trial.take(port, address)
    finally:
        trial.close()


def _mark(port: int) -> socket.socket | None:
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mark.bind(f"\0cht-sync port {port}")
    except OSError:
        mark.close()
        return None
    return mark


def _can_listen(port: int) -> bool:
    return all(_can_listen_at(address, port) for address in LOOPBACK)


def _can_listen_at(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
    except OSError as error:
        # On a machine without this address, IPv6's loopback for instance, nobody else has the port.
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def choose(
    settings: Settings, services: Collection[str], before: dict[str, int], take: Take = is_free
) -> Settings:
    """Return the settings with ports that are free for `services`.

    A port that the operator set must be free, else ServiceError. A default that is taken gives way to
    the port of last time (`before`, by service), or to any free one of FOR_SERVERS.
    """
    chosen: dict[str, Any] = {}
    for service in services:
        name = PORT_SETTINGS.get(service)
        if name is None:
            continue
        wanted: int = getattr(settings, name)
        if wanted not in chosen.values() and take(wanted):
            chosen[name] = wanted
        elif settings.given.get(name.upper()):
            why = "is taken, or only root may listen there" if wanted < 1024 else "is taken"
            raise ServiceError(
                service, f"port {wanted} {why}", hint=f"free it, or set {name.upper()} to another one"
            )
        else:
            earlier = before.get(service)
            usable = earlier is not None and earlier not in chosen.values() and take(earlier)
            chosen[name] = earlier if usable else _any_free(service, chosen.values(), take)
    return dataclasses.replace(settings, **chosen)


def _any_free(service: str, taken: Collection[int], take: Take) -> int:
    for port in random.sample(FOR_SERVERS, len(FOR_SERVERS)):
        if port not in taken and take(port):
            return port
    least, most = FOR_SERVERS[0], FOR_SERVERS[-1]
    raise ServiceError(
        service, f"no port from {least} to {most} is free", hint=f"set {PORT_SETTINGS[service].upper()}"
    )
