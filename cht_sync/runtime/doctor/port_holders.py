"""Ports that the environment would listen on and that somebody else has."""

from __future__ import annotations

import psutil

from cht_sync.runtime import ports
from cht_sync.runtime.containers.running import PUBLISHED
from cht_sync.runtime.doctor.finding import Findings, failed, ok, skipped, warning
from cht_sync.runtime.doctor.situation import DOCKER, Situation


def taken(situation: Situation) -> Findings:
    """One finding for each port that is taken; what a service of ours has is its own."""
    if situation.settings is None:
        yield skipped(f"which ports are meant is not known: {situation.no_settings}")
        return
    settings = situation.settings
    docker = situation.runtime == DOCKER
    named = PUBLISHED if docker else ports.PORT_SETTINGS
    address = settings.publish_address.strip("[]") if docker else ""
    wanted = {
        service: int(getattr(settings, named[service]))
        for service in situation.services
        if service in named and not situation.has_its_port(service)
    }
    found = False
    for service, port in wanted.items():
        if ports.is_free(port, address):
            continue
        found = True
        variable = named[service].upper()
        said = f"port {port}, for {service}, is taken by {_holder(port)}"
        if settings.given.get(variable):
            yield failed(said, f"Free it, or set {variable} to another one")
        else:
            yield warning(f"{said}; up takes a free one", f"Free it, or set {variable}, to know the port")
    if not found:
        said = ", ".join(str(port) for port in wanted.values())
        yield ok(f"free: {said}" if wanted else "the services that run have theirs")


def _holder(port: int) -> str:
    """Who listens there, as far as we may see; no arguments, which may hold somebody's secrets."""
    try:
        listening = [
            one.pid
            for one in psutil.net_connections(kind="tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        ]
        pid = next((one for one in listening if one is not None), None)
        if pid is None:
            return f"a process of another user (sudo ss -tlnp sport = :{port})" if listening else "somebody"
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return "somebody"
