"""Which ports the embedded services listen on."""

from __future__ import annotations

import dataclasses
import errno
import socket
from collections.abc import Collection
from typing import Any

from cht_sync.errors import ServiceError
from cht_sync.settings import Settings

PORT_SETTINGS = {
    "postgres": "postgres_port",
    "couchdb": "couchdb_port",
    "postgrest": "postgrest_port",
    "logstash": "logstash_api_port",
    "superset": "superset_port",
}
"""The setting that holds a service's port."""
LOOPBACK = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of either loopback address."""
    for address, family in LOOPBACK:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a machine without IPv6
            return False
    return True


def choose(settings: Settings, services: Collection[str], before: dict[str, int]) -> Settings:
    """Return the settings with ports that are free for `services`.

    A port that the operator set must be free, else ServiceError. A default that is taken gives way to
    the port of last time (`before`, by service), or to any free one.
    """
    chosen: dict[str, Any] = {}
    for service in services:
        name = PORT_SETTINGS.get(service)
        if name is None:
            continue
        wanted: int = getattr(settings, name)
        if is_free(wanted) and wanted not in chosen.values():
            chosen[name] = wanted
        elif settings.given.get(name.upper()):
            raise ServiceError(
                service, f"port {wanted} is taken", hint=f"free it, or set {name.upper()} to another one"
            )
        else:
            earlier = before.get(service)
            usable = earlier is not None and earlier not in chosen.values() and is_free(earlier)
            chosen[name] = earlier if usable else _any_free(chosen.values())
    return dataclasses.replace(settings, **chosen)


def _any_free(taken: Collection[int]) -> int:
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port not in taken and is_free(port):
            return port
