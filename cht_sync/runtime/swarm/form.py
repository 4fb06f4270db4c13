"""What `docker compose config` says, in the form that `docker stack deploy` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cht_sync.runtime.containers.handed_out import PLACE

VERSION = "3.9"
"""Of the format: the newest that engines since 20.10 know."""
PIPELINES = "/etc/cht-sync/pipeline"
"""Where the pipelines look for their configuration."""
IN_IMAGES = "/srv/cht-sync/"
"""Folders of the checkout, which Compose mounts so that changes are seen at once; images hold copies."""
COMPOSE_ONLY = (
    "build",
    "cpus",
    "depends_on",
    "extra_hosts",
    "mem_limit",
    "pids_limit",
    "ports",
    "profiles",
    "pull_policy",
    "restart",
    "security_opt",
    "shm_size",
    "tmpfs",
    "volumes",
)
"""What a swarm refuses, ignores or has in another form. Whatever else it does not know it refuses by name."""
RESTART = {"no": "none", "on-failure": "on-failure", "always": "any", "unless-stopped": "any"}
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 (what a person may have chosen)
"""The only addresses at which a swarm publishes: all of every node."""


def service(given: Mapping[str, Any]) -> dict[str, Any]:
    """One service. Its start no longer waits for others, so each must try again until it is through."""
    found = {name: value for name, value in given.items() if name not in COMPOSE_ONLY and value is not None}
    deploy = {name: value for name, value in given.get("deploy", {}).items() if value != {}}
    deploy.setdefault("restart_policy", {"condition": RESTART[given.get("restart", "no").partition(":")[0]]})
    deploy["resources"] = {**deploy.get("resources", {}), "limits": _limits(given)}
    found["deploy"] = deploy
    ports = [_port(one) for one in given.get("ports", ()) if is_everywhere(one)]
    # Only a published port needs a virtual address, which drops what is idle for 15 minutes.
    deploy.setdefault("endpoint_mode", "vip" if ports else "dnsrr")
    if ports:
        found["ports"] = ports
    if volumes := [*_volumes(given)]:
        found["volumes"] = volumes
    return found


def is_everywhere(port: Mapping[str, Any]) -> bool:
    """Whether a port is published at every address, as a swarm does with all that it publishes."""
    return port.get("host_ip", "") in EVERYWHERE


def used(given: Mapping[str, Any], kind: str, services: Mapping[str, Any]) -> dict[str, Any]:
    """The "networks" or "volumes" that services use."""
    wanted = {
        one if isinstance(one, str) else one.get("source")
        for found in services.values()
        for one in found.get(kind, ())
    }
    return {name: value for name, value in given.get(kind, {}).items() if name in wanted}


def _limits(given: Mapping[str, Any]) -> dict[str, Any]:
    limits = dict(given.get("deploy", {}).get("resources", {}).get("limits", {}))
    if "mem_limit" in given:
        limits["memory"] = str(given["mem_limit"])
    if given.get("cpus"):
        limits["cpus"] = str(given["cpus"])
    if "pids_limit" in given:
        limits["pids"] = given["pids_limit"]
    return limits


def _port(given: Mapping[str, Any]) -> dict[str, Any]:
    port = {name: given[name] for name in ("target", "protocol", "mode") if name in given}
    if "published" in given:
        port["published"] = int(given["published"])
    return port


def _volumes(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Without what secrets and configs replace, and folders of the checkout, which nodes have not got.

    A volume takes the place of what Compose has in memory there: in a stack only /tmp is for every user.
    """
    taken = {one["target"] for one in given.get("volumes", ())}
    for one in given.get("volumes", ()):
        if one["target"] in (PLACE, PIPELINES) or one["target"].startswith(IN_IMAGES):
            continue
        # Its options are Compose's own.
        volume = {name: value for name, value in one.items() if name != "bind" and value != {}}
        if size := one.get("tmpfs", {}).get("size"):
            volume["tmpfs"] = {"size": int(size)}
        yield volume
    for words in given.get("tmpfs", ()):
        if (place := words.partition(":")[0]) not in taken:
            yield {"type": "tmpfs", "target": place}
