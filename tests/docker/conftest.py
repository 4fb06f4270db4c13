"""A Docker Engine, the images of the tests, and environments of containers that are always taken down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import docker
import pytest
from container_installation import ContainerInstallation
from docker.errors import DockerException
from outside import Outside
from pytest_docker.plugin import Services

from cht_sync.settings import CHECKOUT

REQUIRED = os.environ.get("CHT_SYNC_TEST_DOCKER") == "required"
"""In CI nothing excuses a skip."""
BUILD = CHECKOUT / "tests" / "docker" / "build-images"
BUILD_TIMEOUT = 1800


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine, with Compose."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (DockerException, OSError, subprocess.CalledProcessError) as error:
        if REQUIRED:
            raise
        pytest.skip(f"there is no Docker Engine with Compose: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> None:
    """What cannot be pulled is built from Debian's packages; what is up to date is not built again."""
    if os.geteuid() != 0 and not REQUIRED:
        pytest.skip("the images of the tests are made by debootstrap, which needs root")
    built = subprocess.run([BUILD], capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]


@pytest.fixture(scope="module")
def local(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerInstallation]:
    """`local`, everything started, documents coming in."""
    made = ContainerInstallation(tmp_path_factory.mktemp("local"), "cht-sync-test-local")
    with made.taken_down():
        made.up("local")
        yield made


@pytest.fixture(scope="session")
def outside_address(engine: docker.DockerClient) -> str:
    """This machine as containers of any network reach it, and nobody else does."""
    addresses = ip_network(engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"])
    return str(next(addresses.hosts()))


@pytest.fixture(scope="session")
def docker_compose_file(images: None, outside_address: str) -> str:
    """CouchDB and PostgreSQL of somebody else (pytest-docker's fixture of that name)."""
    os.environ["OUTSIDE_ADDRESS"] = outside_address
    return str(Path(__file__).parent / "outside.yml")


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Theirs, so that no network is shared with ours."""
    return "cht-sync-test-outside"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """From nothing, whatever killed tests have left.

    Without pytest-docker's `--wait`, which wants health checks: the fixture below asks both servers.
    """
    return ["down --volumes", "up --detach"]


@pytest.fixture(scope="session")
def outside(docker_services: Services, outside_address: str) -> Outside:
    """Somebody else's servers, with documents."""
    found = Outside(
        outside_address,
        couchdb_port=docker_services.port_for("couchdb", 5984),
        postgres_port=docker_services.port_for("postgres", 5432),
    )
    docker_services.wait_until_responsive(timeout=60, pause=0.2, check=found.answers)
    found.fill()
    return found
