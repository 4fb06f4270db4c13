"""An environment of containers, used as an operator uses it: by the commands of cht-sync."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
from docker.models.containers import Container
from whole_installation import Installation, wait_for

from cht_sync.environments import Environment
from cht_sync.runtime.containers import recorded, running
from cht_sync.settings import Settings

IMAGES = {
    "CHT_SYNC_IMAGE": "cht-sync-test/cht-sync:latest",
    "LOGSTASH_IMAGE": "cht-sync-test/logstash:latest",
    "SUPERSET_IMAGE": "cht-sync-test/superset:latest",
    "POSTGRES_IMAGE": "cht-sync-test/postgres:latest",
    "POSTGREST_IMAGE": "cht-sync-test/postgrest:latest",
    "COUCHDB_IMAGE": "cht-sync-test/couchdb:latest",
    "PYTHON_BASE_IMAGE": "cht-sync-test/debian:bookworm",
    "SUPERSET_BASE_IMAGE": "cht-sync-test/debian:bookworm",
}
"""Every image by a setting: what an operator may do, and tests must, where no registry can be reached."""


class ContainerInstallation(Installation):
    """`project` is COMPOSE_PROJECT_NAME; the settings are in the `.env` of `home`."""

    def __init__(self, home: Path, project: str, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(home, {})
        self.name = project
        self.given = {
            **IMAGES,
            "COMPOSE_PROJECT_NAME": project,
            "DATAEMON_INTERVAL": "1",
            **(variables or {}),
        }
        file = home / ".env"
        file.write_text("".join(f"{name}={value}\n" for name, value in self.given.items()))
        file.chmod(0o600)

    def environment(self) -> dict[str, str]:
        found = super().environment()
        found.pop("DOCKER_HOST", None)
        if "DOCKER_HOST" in os.environ:
            found["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        return found

    def up(self, environment: str, *more: str) -> str:
        """Start it, return the screen."""
        words = ("up", "--env", environment, "--runtime", "docker", "--detach", *more)
        return self.run(*words, timeout=600).stdout

    @contextmanager
    def taken_down(self) -> Iterator[None]:
        """Take it down at the end, with volumes and networks, whatever its own commands think.

        And before: tests that were killed have left theirs, whose passwords nobody knows any more.
        """
        self._remove()
        try:
            yield
        finally:
            self.run("down", "--volumes", "--yes", check=False, timeout=300)
            self._remove()

    @property
    def settings(self) -> Settings:
        record = recorded.read(self.home / ".cht-sync")
        assert record is not None, "nothing is recorded"
        return running.of(record, self.home).settings

    def container(self, service: str) -> Container:
        """The one container of a service."""
        (found,) = (one for one in self._all("containers", all=True) if _label(one, "service") == service)
        return found

    def containers(self) -> dict[str, Container]:
        """Every container by its service, also of what has run once."""
        return {_label(one, "service"): one for one in self._all("containers", all=True)}

    def inside(self, service: str, *words: str) -> tuple[int, str]:
        """Run a command in a service's container; return its exit code and what it said."""
        code, said = self.container(service).exec_run(list(words))
        return code, said.decode(errors="replace")

    def kill(self, service: str) -> None:
        """Kill its first process as a crash does: nobody has told the engine to stop it."""
        container = self.container(service)
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def restarts(self, service: str) -> int:
        """How often the engine has started it again."""
        return int(self.container(service).attrs["RestartCount"])

    def is_well(self, service: str) -> bool:
        """Whether it runs, and its health check, where it has one, passes."""
        state = self.container(service).attrs["State"]
        return state["Status"] == "running" and state.get("Health", {}).get("Status", "healthy") == "healthy"

    def wait_until_well(self) -> None:
        """Wait until `status` finds nothing wrong."""
        wait_for(lambda: self.run("status", check=False).returncode == 0, "everything to be well", self.logs)

    def logs(self) -> str:
        """The end of every container's log."""
        return "\n".join(
            f"--- {service} ({one.status})\n" + one.logs(tail=20).decode(errors="replace")
            for service, one in self.containers().items()
        )

    def superset(self) -> str:
        """Superset's address."""
        return f"http://127.0.0.1:{self.settings.superset_port}"

    def superset_answers(self) -> bool:
        try:
            return requests.get(f"{self.superset()}/health", timeout=10).status_code == 200
        except requests.RequestException:
            return False

    def _remove(self) -> None:
        for container in self._all("containers", all=True):
            container.remove(force=True, v=True)
        for kind in ("networks", "volumes"):
            for one in self._all(kind):
                one.remove()

    def _all(self, kind: str, **options: Any) -> list[Any]:
        client = docker.from_env(timeout=60)
        found: list[Any] = []
        for name in (self.name, *(f"{self.name}-{one}" for one in Environment)):
            filters = {"label": f"com.docker.compose.project={name}"}
            found += getattr(client, kind).list(filters=filters, **options)
        return found


def _label(container: Container, name: str) -> str:
    return str(container.labels.get(f"com.docker.compose.{name}", ""))
