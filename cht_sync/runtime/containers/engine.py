"""What the Docker Engine says of a project's containers, and of images."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from cht_sync.errors import ChtSyncError
from cht_sync.files import disk_free
from cht_sync.runtime.state import ServiceState

PROJECT, SERVICE, ONE_OFF = (f"com.docker.compose.{word}" for word in ("project", "service", "oneoff"))
SETTINGS_FILE = "com.docker.compose.project.environment_file"
"""The label that says with which settings Compose was called."""
MARK, OWNER = "installation", "org.cht-sync.installation"
"""The volume, and its label, that say whose the volumes of a project are."""
TIMEOUT = 20
"""Seconds for an answer of the engine."""
HALF_REPLACED = re.compile(r"[0-9a-f]{12}_")
CONNECTION_ERRORS = (DockerException, requests.RequestException)


class Engine:
    """A connection to the engine that DOCKER_HOST names, else to the local one."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    def project(self, name: str) -> list[Container]:
        """The containers of a project, running or not, without those of single commands."""
        with _our_errors():
            found: list[Container] = self._client.containers.list(
                all=True,
                ignore_removed=True,
                filters={"label": [f"{PROJECT}={name}", f"{ONE_OFF}=False"]},
            )
            return found

    def has_image(self, name: str) -> bool:
        """Whether the image is here."""
        with _our_errors():
            try:
                self._client.images.get(name)
            except ImageNotFound:
                return False
            return True

    def can_pull(self, name: str) -> bool:
        """Whether its registry answers for the image."""
        try:
            self._client.images.get_registry_data(name)
        except (*CONNECTION_ERRORS, ValueError):
            return False
        return True

    def free_space(self) -> int | None:
        """Bytes free where the engine keeps images and volumes; None where that is not on this machine."""
        with _our_errors():
            folder = Path(self._client.info().get("DockerRootDir", ""))
        return disk_free(folder) if folder.is_absolute() else None

    def remove_half_replaced(self, project: str) -> None:
        """Remove containers that an interrupted Compose has renamed to put others in their place."""
        for container in self.project(project):
            if HALF_REPLACED.match(container.name or ""):
                with _our_errors():
                    container.remove(force=True)

    def processors(self) -> int:
        """How many the engine's machine has."""
        with _our_errors():
            return int(self._client.info().get("NCPU", 0))

    def owner_of_data(self, project: str) -> str | None:
        """The installation that has marked a project's volumes as its own; None where none has."""
        with _our_errors():
            try:
                labels = self._client.volumes.get(f"{project}_{MARK}").attrs.get("Labels") or {}
            except NotFound:
                return None
        owner = labels.get(OWNER)
        return None if owner is None else str(owner)

    def mark_data(self, project: str, owner: str) -> None:
        """Mark a project's volumes as those of an installation: with an empty volume that is labelled so."""
        if self.owner_of_data(project) == owner:
            return
        with _our_errors():
            with contextlib.suppress(NotFound):
                self._client.volumes.get(f"{project}_{MARK}").remove()
            self._client.volumes.create(f"{project}_{MARK}", labels={PROJECT: project, OWNER: owner})

    def remove_volumes(self, project: str) -> None:
        """Delete a project's volumes. Raises ChtSyncError where a container still uses one."""
        with _our_errors():
            for volume in self._client.volumes.list(filters={"label": f"{PROJECT}={project}"}):
                volume.remove()


@contextmanager
def connected() -> Iterator[Engine]:
    """Give a connection to an engine that answers; raises ChtSyncError with the remedy."""
    with _our_errors():
        client = docker.from_env(timeout=TIMEOUT)
    try:
        with _our_errors():
            client.ping()
        yield Engine(client)
    finally:
        client.close()


def service_of(container: Container) -> str:
    """The name of a container's service."""
    return str(container.labels.get(SERVICE, ""))


def state_of(container: Container) -> ServiceState:
    """A container as the status shows a service: running means that its health check passes, too."""
    about: dict[str, Any] = container.attrs["State"]
    health = about.get("Health", {}).get("Status")
    status = about["Status"]
    if status == "running":
        state = {"starting": "starting", "unhealthy": "unhealthy"}.get(health, "running")
    else:
        known = {"created": "waiting", "restarting": "restarting", "paused": "paused"}
        state = known.get(status, "stopped")
    moment = about["StartedAt"] if status == "running" else about["FinishedAt"]
    return ServiceState(
        service_of(container),
        state=state,
        since=_seconds(moment),
        restarts=int(container.attrs.get("RestartCount", 0)),
    )


def exit_code(container: Container) -> int | None:
    """How a container has ended; None while it runs, or before it does."""
    about: dict[str, Any] = container.attrs["State"]
    return int(about["ExitCode"]) if about["Status"] in ("exited", "dead") else None


def out_of_memory(container: Container) -> bool:
    """Whether it was ended for taking more memory than its limit."""
    return bool(container.attrs["State"].get("OOMKilled"))


def last_words(container: Container, count: int = 10) -> list[str]:
    """The last lines of a container's log; none where they cannot be had."""
    with contextlib.suppress(*CONNECTION_ERRORS):
        text = container.logs(tail=count).decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]
    return []


def _seconds(moment: str) -> float:
    """A moment of the engine's as seconds since the epoch; 0 for none, which it writes as the year 1."""
    if moment.startswith("0001"):
        return 0.0
    whole, _dot, _fraction = moment.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp()


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise ChtSyncError(f"Docker: {error.explanation or error}") from error
    except APIError as error:
        raise ChtSyncError(f"Docker refuses: {error.explanation or error}") from error
    except CONNECTION_ERRORS as error:
        raise _unreachable(str(error)) from error


def _unreachable(said: str) -> ChtSyncError:
    if "PermissionError" in said or "Permission denied" in said:
        return ChtSyncError(
            "no permission to talk to the Docker engine",
            hint="sudo usermod --append --groups docker $USER, then sign in again.",
        )
    place = os.environ.get("DOCKER_HOST", "/var/run/docker.sock")
    if "FileNotFoundError" in said or "No such file" in said:
        return ChtSyncError(
            f"no Docker engine at {place}",
            hint="Install it, or start it: sudo systemctl start docker. Without it: --runtime embedded",
        )
    return ChtSyncError(
        f"the Docker engine at {place} does not answer",
        hint="See: systemctl status docker. Without it: --runtime embedded",
    )
