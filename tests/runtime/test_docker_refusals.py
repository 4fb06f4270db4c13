"""What is missing on a machine for containers is one clear line with the remedy; `auto` goes on without."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.runtime import runtimes
from cht_sync.runtime.containers import available, compose, inside, recorded, running
from cht_sync.runtime.containers import engine as engines
from cht_sync.settings import Settings, load


class FakeEngine:
    """An engine with some images and some room; no test of its own needs a real one for that."""

    def __init__(self, *images: str, pullable: bool = False, free: int | None = None) -> None:
        self._images, self._pullable, self._free = images, pullable, free

    def has_image(self, name: str) -> bool:
        return name in self._images

    def can_pull(self, name: str) -> bool:
        return self._pullable

    def free_space(self) -> int | None:
        return self._free


def settings(tmp_path: Path, environment: Environment = Environment.LOCAL, **given: str) -> Settings:
    return load(environment, home=tmp_path, environ=given, read_file=False, needs=())


def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `docker` of our own before everything else."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_a_missing_plugin_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, monkeypatch, "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1")
    with pytest.raises(ChtSyncError) as refused:
        compose.version()
    assert refused.value.message == "Docker has no compose plugin"
    assert "docker-compose-plugin" in str(refused.value.hint)


@pytest.mark.parametrize("said", ["1.29.2", "v2.19.1"])
def test_an_older_plugin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    plugin(tmp_path, monkeypatch, f"echo {said}")
    with pytest.raises(ChtSyncError, match=f"docker compose {said} is older than 2.20"):
        compose.version()


def test_a_plugin_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path, monkeypatch, "echo 2.26.1-4")
    assert compose.version() == "2.26.1-4"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "Error: ('Connection aborted.', PermissionError(13, 'Permission denied'))",
            "no permission to talk to the Docker engine",
            "usermod",
        ),
        (
            "Error: ('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))",
            "no Docker engine at /var/run/docker.sock",
            "systemctl start docker",
        ),
        (
            "('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))",
            "the Docker engine at /var/run/docker.sock does not answer",
            "systemctl status docker",
        ),
    ],
)
def test_an_engine_that_cannot_be_asked_is_told_by_its_reason(
    monkeypatch: pytest.MonkeyPatch, said: str, message: str, hint: str
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    def refuse(**_options: object) -> None:
        raise engines.DockerException(said)

    monkeypatch.setattr(engines.docker, "from_env", refuse)
    with pytest.raises(ChtSyncError) as refused, engines.connected():
        raise AssertionError("there is no engine")
    assert refused.value.message == message
    assert hint in str(refused.value.hint)


def test_a_full_disk_is_refused_before_anything_is_pulled() -> None:
    with pytest.raises(ChtSyncError, match=r"Docker has 1\.0 GB of disk left"):
        available.refuse_a_full_disk(FakeEngine(free=1_000_000_000))  # type: ignore[arg-type]
    available.refuse_a_full_disk(FakeEngine(free=None))  # type: ignore[arg-type]


def test_auto_takes_docker_only_where_every_image_is_here_or_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(engine: FakeEngine) -> AbstractContextManager[FakeEngine]:
        return nullcontext(engine)

    monkeypatch.setattr(compose, "version", lambda: "2.26.1")
    names = SERVICES[Environment.PROD]
    wanted = settings(tmp_path, Environment.PROD)
    monkeypatch.setattr(engines, "connected", lambda: given(FakeEngine(pullable=True)))
    assert available.unavailable(wanted, names) is None
    ours = (wanted.cht_sync_image, "cht-sync-logstash:native", wanted.superset_image)
    monkeypatch.setattr(engines, "connected", lambda: given(FakeEngine(*ours)))
    assert available.unavailable(wanted, names) == (
        f"Docker is here, but not the images {wanted.postgrest_image}, and no registry has them for us"
    )
    monkeypatch.setattr(engines, "connected", lambda: given(FakeEngine(*ours, wanted.postgrest_image)))
    assert available.unavailable(wanted, names) is None


def test_auto_without_an_engine_goes_on_with_local_processes_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    chosen = runtimes.choose("auto", Environment.LOCAL, home=tmp_path, without=())
    assert chosen == ("embedded", "no Docker engine at unix:///nowhere/docker.sock")


def test_what_runs_as_containers_is_not_started_as_processes_too(tmp_path: Path) -> None:
    record = recorded.Recorded(Environment.LOCAL, "cht-sync", [], {}, [], {})
    recorded.write(tmp_path / ".cht-sync", record)
    assert runtimes.choose("auto", Environment.LOCAL, home=tmp_path, without=())[0] == "docker"
    with pytest.raises(ChtSyncError, match="it runs here already, as docker"):
        runtimes.choose("embedded", Environment.LOCAL, home=tmp_path, without=())


@pytest.mark.parametrize(
    ("folder", "kept"),
    [("local", "embedded"), ("docker/local", "docker")],
)
def test_auto_stays_where_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kept: str
) -> None:
    docker = None if kept == "embedded" else "no registry"
    monkeypatch.setattr(runtimes, "unavailable", lambda *_asked: docker)
    data = tmp_path / ".cht-sync" / folder
    data.mkdir(parents=True)
    if kept == "docker":
        recorded.write(data, recorded.Recorded(Environment.LOCAL, "cht-sync", [], {}, [], {}))
    chosen = runtimes.choose("auto", Environment.LOCAL, home=tmp_path, without=())
    assert chosen == (kept, "where its data are")
    other = "docker" if kept == "embedded" else "embedded"
    assert runtimes.choose(other, Environment.LOCAL, home=tmp_path, without=()) == (other, "as asked for")


def test_a_build_that_fails_goes_on_with_the_images_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, monkeypatch, "echo 'failed to resolve the base image'; exit 17")
    wanted = settings(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    installation = running.Installation(
        wanted,
        recorded.Recorded(Environment.LOCAL, "cht-sync-local", [], {}, [], {}),
        compose.Compose("cht-sync-local", Environment.LOCAL, [], folder),
    )
    ours = ("cht-sync-logstash:native", wanted.cht_sync_image, wanted.superset_image)
    others = (wanted.postgres_image, wanted.postgrest_image, wanted.couchdb_image)
    said: list[str] = []
    here = FakeEngine(*ours, *others)
    assert running.get_images(installation, here, threading.Event(), said.append)  # type: ignore[arg-type]
    assert f"{running.NOT_BUILT} failed to resolve the base image" in said
    lacking = FakeEngine(*ours[1:], *others)
    with pytest.raises(ChtSyncError, match="exit code 17 while building images:\nfailed to resolve"):
        running.get_images(installation, lacking, threading.Event(), said.append)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CHT_PIPELINE_BRANCH_URL": "/srv/models"}, "CHT_PIPELINE_BRANCH_URL is a folder of this machine"),
        ({"POSTGREST_BIN": "postgrest"}, "POSTGREST_BIN is for local processes"),
        ({"COUCHDB_HOST": "localhost"}, "COUCHDB_HOST is this machine"),
        ({"COUCHDB_HOST": "127.0.0.1"}, "COUCHDB_HOST=host.docker.internal"),
        ({"HTTP_ENDPOINT": "localhost:3000/x"}, "HTTP_ENDPOINT=host.docker.internal:3000/x"),
        ({"POSTGRES_HOST": "localhost"}, "POSTGRES_HOST is this machine"),
        ({"DBT_POSTGRES_HOST": "[::1]"}, "DBT_POSTGRES_HOST=host.docker.internal"),
    ],
)
def test_what_containers_cannot_see_is_refused(tmp_path: Path, given: dict[str, str], named: str) -> None:
    wanted = settings(tmp_path, Environment.PROD, **given)
    with pytest.raises(SettingsError, match=named):
        inside.check(wanted, SERVICES[Environment.PROD])


def test_an_address_that_no_service_asks_is_not_refused(tmp_path: Path) -> None:
    given = {"COUCHDB_HOST": "localhost", "POSTGRES_HOST": "localhost", "HTTP_ENDPOINT": "localhost:3000"}
    wanted = settings(tmp_path, Environment.LOCAL, **given)
    names = SERVICES[Environment.LOCAL]
    inside.check(wanted, names)
    with pytest.raises(SettingsError) as refused:
        inside.check(wanted, [name for name in names if name not in ("postgres", "couchdb")])
    named = [problem.split()[0] for problem in refused.value.problems]
    assert named == ["POSTGRES_HOST", "COUCHDB_HOST", "HTTP_ENDPOINT"]
