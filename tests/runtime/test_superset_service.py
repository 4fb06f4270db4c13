"""The installation of Superset where it cannot succeed, and whether it answers."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from loopback_server import LoopbackServer, serving

from cht_sync.environments import Environment
from cht_sync.errors import ServiceError
from cht_sync.process import ProcessId
from cht_sync.runtime import superset
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.runtime.status import gather
from cht_sync.settings import load


class Healthy(BaseHTTPRequestHandler):
    """Answers what Superset answers when it is well, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()


class Stuck(BaseHTTPRequestHandler):
    """Takes requests and answers none."""

    server: LoopbackServer

    def do_GET(self) -> None:
        self.server.over.wait()


@pytest.fixture
def service(tmp_path: Path) -> superset.Superset:
    """One that is not installed."""
    return superset.Superset(load(Environment.LOCAL, home=tmp_path, environ={}))


@pytest.mark.skipif(superset.python() is None, reason="Superset runs on Python 3.11 and 3.12 only")
def test_without_packages_to_download_it_says_what_to_do_and_leaves_nothing_half_done(
    service: superset.Superset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superset, "SOURCES", tmp_path)
    (tmp_path / "requirements.txt").write_text("no-such-package-anywhere==1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    half_done = tmp_path / ".cht-sync" / "superset" / "half-done"
    half_done.mkdir(parents=True)
    with pytest.raises(ServiceError, match=r"^superset: cannot be installed: .*no-such-package") as raised:
        service.prepare(lambda _words: None)
    assert "\n" not in raised.value.message
    assert "--without superset" in str(raised.value.hint)
    assert not half_done.exists()


def test_without_a_python_that_can_run_it_the_rest_can_go_on(
    service: superset.Superset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superset, "python", lambda: None)
    with pytest.raises(ServiceError) as raised:
        service.prepare(lambda _words: None)
    assert "--without superset" in str(raised.value.hint)


def test_a_superset_that_is_stuck_is_said_whatever_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superset, "REQUEST_TIMEOUT", 0.2)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(LoopbackServer(Healthy)) as well, serving(LoopbackServer(Stuck)) as stuck:
        assert superset.superset_problems(f"127.0.0.1:{well.port}") == []
        said = f"superset: does not answer at 127.0.0.1:{stuck.port} (ReadTimeout)"
        assert superset.superset_problems(f"127.0.0.1:{stuck.port}") == [said]


def test_the_status_of_an_environment_has_it_among_its_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superset, "REQUEST_TIMEOUT", 0.2)
    own = ProcessId.of(os.getpid())
    with serving(LoopbackServer(Stuck)) as stuck:
        service = ServiceState("superset", "running", port=stuck.port, pid=own.pid, started=own.started)
        state = EnvironmentState(Environment.LOCAL, "embedded", own.pid, own.started, services=[service])
        settings = load(Environment.LOCAL, home=tmp_path, environ={"POSTGRES_PORT": "9", "COUCHDB_PORT": "9"})
        found = gather(state, settings)
    assert f"superset: does not answer at 127.0.0.1:{stuck.port} (ReadTimeout)" in found["problems"]


def test_it_is_not_ready_while_nobody_could_sign_in(tmp_path: Path) -> None:
    with serving(LoopbackServer(Healthy)) as without_database:
        environ = {"SUPERSET_PORT": str(without_database.port)}
        service = superset.Superset(load(Environment.LOCAL, home=tmp_path, environ=environ))
        assert not service.ready()
