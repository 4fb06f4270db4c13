"""gamma as a stack on a swarm of one node, which is made for it, beside a CouchDB that is somebody else's."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from container_installation import ContainerInstallation
from docker.models.containers import Container
from free_ports import free_port
from outside import Outside
from test_gamma_and_prod import made_up
from whole_installation import wait_for

from cht_sync.environments import SERVICES, Environment
from cht_sync.settings import declared

PROJECT = "cht-sync-test-swarm"
STACK = f"{PROJECT}-gamma"
DATABASE = "many"
DOCUMENTS = 6_000
CHUNK = 100
SECRETS = [name for name, variable in declared() if variable.secret]
LABEL = "cht-sync.postgres"
WITH_SETTINGS = "/srv/cht-sync/cht_sync/runtime/containers/with-settings"
AT_FIRST = {
    # Two share the load; the pipelines come when it is done, so that it can be seen who has done what.
    "load": {
        "command": ["load", "--if-large", "--serve", "--chunk-size", str(CHUNK)],
        "deploy": {"replicas": 2},
    },
    "logstash": {"deploy": {"replicas": 0}},
}


class Stack(ContainerInstallation):
    """An installation that a swarm runs: its containers are tasks of services."""

    def deploy(self, own: Path) -> str:
        """Write the stack and have it deployed, as an operator does; return the screen."""
        screen = self.run("swarm-stack", "--env", "gamma", "--file", str(own)).stdout
        words = screen.rpartition("Deploy it: ")[2].split()
        # The tests' images are in no registry that could be asked for their digests.
        self.docker(*words[1:-1], "--resolve-image", "never", words[-1])
        return screen

    def docker(self, *words: str) -> str:
        done = subprocess.run(
            ["docker", *words], cwd=self.home, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def running(self, service: str) -> list[Container]:
        """The containers of a service that run and are well."""
        filters = {"label": f"com.docker.swarm.service.name={STACK}_{service}", "status": "running"}
        found = docker.from_env(timeout=60).containers.list(filters=filters, ignore_removed=True)
        return [one for one in found if _is_well(one)]

    def states(self, service: str) -> list[str]:
        """What has become of every task of a service."""
        tasks: list[dict[str, Any]] = docker.from_env(timeout=60).services.get(f"{STACK}_{service}").tasks()
        return [one["Status"]["State"] for one in tasks]

    def kill_one(self, service: str) -> str:
        """Kill a container as a crash does; return its id."""
        container = self.running(service)[0]
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
        return str(container.id)

    def replaced(self, service: str, killed: str, replicas: int) -> bool:
        """Whether all replicas run again, without the one that was killed."""
        ids = {one.id for one in self.running(service)}
        return len(ids) == replicas and killed not in ids

    def sql(self, query: str) -> str:
        """What PostgreSQL answers; nothing where it cannot be asked yet."""
        for postgres in self.running("postgres"):
            code, said = postgres.exec_run(["psql", "-U", "postgres", "-d", "data", "-tAc", query])
            if code == 0:
                return str(said.decode().strip())
        return ""

    def command_line(self, *words: str) -> str:
        """Run a command of cht-sync in the container for it."""
        (tools,) = self.running("cht-sync")
        code, said = tools.exec_run([WITH_SETTINGS, "cht-sync", *words])
        assert code == 0, said.decode()
        return str(said.decode())

    def logs(self) -> str:
        told = []
        for words in (["stack", "ps", "--no-trunc", STACK], ["service", "ls"]):
            done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
            told.append(done.stdout + done.stderr)
        for one in docker.from_env(timeout=60).containers.list(all=True, ignore_removed=True):
            if one.name.startswith(STACK):
                told.append(f"--- {one.name} ({one.status})\n" + one.logs(tail=10).decode(errors="replace"))
        return "\n".join(told)

    @contextmanager
    def taken_down(self) -> Iterator[None]:
        self._remove_stack()
        try:
            yield
        finally:
            self._remove_stack()

    def _remove_stack(self) -> None:
        subprocess.run(["docker", "stack", "rm", STACK], capture_output=True, check=False)
        client = docker.from_env(timeout=60)
        filters = {"label": f"com.docker.stack.namespace={STACK}"}
        wait_for(
            lambda: not client.containers.list(all=True, sparse=True, filters=filters),
            "the containers to be gone",
        )
        for volume in client.volumes.list(filters=filters):
            volume.remove(force=True)
        wait_for(lambda: not client.networks.list(filters=filters), "the networks to be gone")


@pytest.fixture
def swarm(engine: docker.DockerClient) -> Iterator[None]:
    """The engine as a swarm of one node, on loopback, with the label that PostgreSQL waits for."""
    if engine.info()["Swarm"]["LocalNodeState"] != "inactive":
        pytest.skip("this engine is in a swarm already, which is not to be touched")
    engine.swarm.init(advertise_addr="127.0.0.1", listen_addr=f"127.0.0.1:{free_port()}")
    try:
        (node,) = engine.nodes.list()
        node.update({**node.attrs["Spec"], "Labels": {LABEL: "true"}})
        yield
    finally:
        engine.swarm.leave(force=True)


def test_killed_workers_are_rescheduled_and_nothing_is_lost(
    swarm: None, outside: Outside, tmp_path: Path
) -> None:
    outside.fill(DATABASE, DOCUMENTS)
    own = {"POSTGRES_PASSWORD": secrets.token_urlsafe(32), "COUCHDB_DBS": DATABASE}
    given = {**outside.couchdb, **own, **made_up(), "LOAD_FROM_DOCUMENTS": "1000", "LOAD_WORKERS": "1"}
    gamma = Stack(tmp_path, PROJECT, given)
    more = tmp_path / "own.yml"
    more.write_text(yaml.safe_dump({"services": AT_FIRST}))
    with gamma.taken_down():
        screen = gamma.deploy(more)
        assert "Not published: postgres, superset" in screen

        done = "select count(*) from v1.cht_sync_load_chunks where done_at is not null"
        wait_for(lambda: int(gamma.sql(done) or 0) > 0, "the load to begin", gamma.logs)
        killed = gamma.kill_one("load")
        assert int(gamma.sql(done)) < DOCUMENTS // CHUNK, "the load was over before a worker could be killed"
        wait_for(lambda: gamma.replaced("load", killed, 2), "another worker", gamma.logs)
        ended = "select count(*) from v1.cht_sync_loads where ended_at is not null"
        wait_for(lambda: gamma.sql(ended) == "1", "the load to end", gamma.logs)
        assert gamma.sql(f"select count(*) from v1.{DATABASE}") == str(DOCUMENTS)

        gamma.docker("service", "scale", "--detach", f"{STACK}_logstash=1", f"{STACK}_cht-sync=1")
        wait_for(lambda: bool(gamma.running("logstash")), "the pipelines", gamma.logs)
        killed = gamma.kill_one("logstash")
        outside.put("written-while-away", DATABASE)
        arrived = f"select count(*) from v1.{DATABASE} where _id = 'written-while-away'"
        wait_for(lambda: gamma.sql(arrived) == "1", "what came while they were away", gamma.logs)
        wait_for(lambda: gamma.replaced("logstash", killed, 1), "other pipelines", gamma.logs)
        services = {*SERVICES[Environment.GAMMA], "cht-sync"}
        wait_for(lambda: all(gamma.running(one) for one in services), "all to be well", gamma.logs)
        assert "complete" in gamma.states("init-db")
        assert json.loads(gamma.command_line("verify", "--json"))["same"]
        shown = json.dumps([one.attrs for name in services for one in gamma.running(name)])
        assert [name for name, value in given.items() if name in SECRETS and value in shown] == []
    label = {"label": f"com.docker.stack.namespace={STACK}"}
    assert docker.from_env(timeout=60).secrets.list(filters=label) == []


def _is_well(container: Container) -> bool:
    """Whether its health check, where it has one, passes."""
    health = container.attrs["State"].get("Health", {"Status": "healthy"})
    return bool(health["Status"] == "healthy")
