"""`/metrics` and `/healthz`: what the loop says of itself while it works, waits and fails."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from free_ports import free_port
from monitoring_table import differences
from prometheus_client.parser import text_string_to_metric_families

from cht_sync import metrics_server
from cht_sync.accepting import PAUSE
from cht_sync.health import SILENT_AFTER, UNABLE_AFTER, Health
from cht_sync.metrics_server import serving
from cht_sync.transform.metrics import Metrics

from .looping import eventually, looping, small
from .warehouse import Warehouse

HOST = "127.0.0.1"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock, port: int) -> Iterator[Health]:
    """Served on the port."""
    made = Health(clock)
    with serving(HOST, port, Metrics(), made, setting="DBT_METRICS_PORT"):
        yield made


def samples(port: int) -> dict[str, float]:
    """Value by name and labels, as Prometheus reads them."""
    answer = requests.get(f"http://{HOST}:{port}/metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def answer_of(port: int) -> requests.Response:
    return requests.get(f"http://{HOST}:{port}/healthz", timeout=10)


def test_the_metrics_tell_what_became_of_runs(fresh: Warehouse, tmp_path: Path, port: int) -> None:
    world = small(fresh, tmp_path)
    world.put("ada", {"type": "person", "name": "Ada", "born": "soon"})
    world.put("amina", {"type": "person", "name": "Amina"})
    with looping(replace(world.options, metrics_port=port, test_interval=1e6)):
        name = "cht_sync_dbt_"
        eventually(lambda: world.rows("people", "ada"))
        found = eventually(lambda: (now := samples(port)).get(f"{name}tests{{result=passed}}") and now)
        assert found[f"{name}runs_total{{result=failed}}"] >= 1
        assert found[f"{name}models_failing{{}}"] == 1
        assert found[f"{name}model_failing{{model=births}}"] == 1
        assert found[f"{name}tests{{result=passed}}"] == 4
        assert found[f"{name}rows_total{{model=people}}"] == 2
        assert found[f"{name}model_seconds{{model=people}}"] > 0
        assert found[f"{name}postgres_up{{}}"] == 1
        assert found[f"{name}last_run_success{{}}"] == 0
        assert 0 < found[f"{name}disk_free_bytes{{}}"] < found[f"{name}disk_size_bytes{{}}"]
        assert f"{name}package_info{{commit=,note=,origin={world.options.url}}}" in found
        assert found[f"{name}waiting_seconds{{}}"] == 0
        assert answer_of(port).status_code == 200

        world.put("ada", {"type": "person", "name": "Ada", "born": "2001-02-03"})
        eventually(lambda: samples(port)[f"{name}models_failing{{}}"] == 0)
        found = samples(port)
        assert f"{name}model_failing{{model=births}}" not in found
        assert found[f"{name}last_success_timestamp_seconds{{}}"] > 0
        assert found[f"{name}runs_total{{result=success}}"] >= 1
        eventually(lambda: samples(port)[f"{name}documents_total{{}}"] >= 1)
        found = samples(port)
        assert (
            found[f"{name}freshness_seconds{{of=greatest}}"] >= found[f"{name}freshness_seconds{{of=median}}"]
        )
    with pytest.raises(requests.ConnectionError):
        answer_of(port)


def test_the_page_has_every_metric_of_a_running_loop_and_no_other(
    fresh: Warehouse, tmp_path: Path, port: int
) -> None:
    world = small(fresh, tmp_path)
    world.put("ada", {"type": "person", "name": "Ada", "born": "soon"})

    def differs() -> list[str]:
        return list(differences("dbt", requests.get(f"http://{HOST}:{port}/metrics", timeout=10).text))

    with looping(replace(world.options, metrics_port=port, test_interval=1e6)):
        eventually(lambda: world.rows("people", "ada"))
        # A label is there once it has a value: of freshness after a second change.
        world.put("amina", {"type": "person", "name": "Amina"})
        eventually(lambda: world.rows("people", "amina") and not differs())


def test_a_loop_that_goes_round_is_well(health: Health, clock: Clock, port: int) -> None:
    for _ in range(10):
        clock.now += SILENT_AFTER / 2
        health.turn()
    assert (answer_of(port).status_code, answer_of(port).json()) == (200, {"status": "ok", "reasons": []})


def test_a_loop_that_stands_still_is_unwell(health: Health, clock: Clock, port: int) -> None:
    clock.now += SILENT_AFTER
    assert answer_of(port).status_code == 503
    assert "stood still" in answer_of(port).json()["reasons"][0]


def test_a_run_may_take_as_long_as_it_takes(health: Health, clock: Clock, port: int) -> None:
    with health.at_work():
        clock.now += 10 * UNABLE_AFTER
        assert answer_of(port).status_code == 200
    assert answer_of(port).status_code == 200


def test_a_postgres_that_is_away_for_long_makes_it_unwell_until_it_is_back(
    health: Health, clock: Clock, port: int
) -> None:
    for _ in range(20):
        assert answer_of(port).status_code == 200
        clock.now += UNABLE_AFTER / 20
        health.turn()
        health.trouble("postgres", "PostgreSQL is away: no route")
    clock.now += UNABLE_AFTER / 20
    health.turn()
    assert answer_of(port).status_code == 503
    assert answer_of(port).json()["reasons"][0].startswith("PostgreSQL is away: no route")
    health.well("postgres")
    assert answer_of(port).status_code == 200


def test_other_paths_are_not_found_and_other_methods_refused(health: Health, port: int) -> None:
    assert requests.get(f"http://{HOST}:{port}/", timeout=10).status_code == 404
    assert requests.post(f"http://{HOST}:{port}/metrics", timeout=10).status_code == 501
    assert requests.head(f"http://{HOST}:{port}/metrics", timeout=10).text == ""


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_models(
    health: Health, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(HOST, port, Metrics(), Health(), setting="DBT_METRICS_PORT"):
        assert f"port {port}" in caplog.text
        assert "DBT_METRICS_PORT" in caplog.text


class Noted(Metrics):
    """Answers when the client has gone, and says so."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.gone = threading.Event()

    def text(self) -> bytes:
        if self.error is not None:
            raise self.error
        assert self.gone.wait(10)
        return b"#\n" * 10_000_000


def test_a_client_that_goes_away_is_nothing_to_log(
    port: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = Noted()
    caplog.set_level(logging.DEBUG, logger="cht_sync.metrics_server")
    with serving(HOST, port, metrics, Health(), setting="DBT_METRICS_PORT"):
        with socket.create_connection((HOST, port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            # Closing resets the connection.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        metrics.gone.set()
        eventually(lambda: caplog.records)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert capfd.readouterr().err == ""


def test_an_error_while_the_metrics_are_served_is_one_log_line_with_its_type(
    port: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(HOST, port, Noted(ValueError("broken")), Health(), setting="DBT_METRICS_PORT"):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{HOST}:{port}/metrics", timeout=10)
        eventually(lambda: caplog.records)
    (record,) = caplog.records
    assert record.getMessage() == "the metrics could not be served: ValueError"
    assert record.exc_info is not None
    assert capfd.readouterr().err == ""


def test_without_file_handles_a_client_is_taken_later_and_not_at_once_again(
    health: Health, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    accept = socketserver.TCPServer.get_request

    def no_handle_twice(server: socketserver.TCPServer) -> tuple[socket.socket, object]:
        if len(pauses) < 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(server)

    monkeypatch.setattr(socketserver.TCPServer, "get_request", no_handle_twice)
    monkeypatch.setattr(metrics_server.time, "sleep", pauses.append)
    assert requests.get(f"http://{HOST}:{port}/metrics", timeout=10).status_code == 200
    assert pauses == [PAUSE, PAUSE]
