"""The figures of the whole line: a CouchDB, the rendered configuration, the ingest and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from alerting import assert_firing
from couchdb_fixture import CouchDBProcess, CouchDBServer
from fake_couchdb import FakeCouchdb, fake_couchdb
from monitoring import PATIENCE, Api, api
from monitoring_table import differences
from postgres_fixture import PostgresServer
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import ObservedStop, Served, listening

from cht_sync.errors import DestinationUnavailable
from cht_sync.generator import Client
from cht_sync.pipeline import input_runner
from cht_sync.pipeline.couchdb import handoff
from cht_sync.pipeline.monitor.metrics import OutputMetrics, Problem
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.writer import Writer

DATABASE = "medic"


@pytest.fixture
def couchdb(tmp_path: Path) -> Iterator[CouchDBServer]:
    """A server of this test alone: it is stopped and started again."""
    folder = tmp_path / "couchdb"
    folder.mkdir()
    node = CouchDBProcess(folder, user="medic", password="password")
    node.start()
    server = CouchDBServer("127.0.0.1", node.port, "medic", "password", node)
    client = server.client()
    client.create_database(DATABASE)
    client.close()
    yield server
    node.stop()


@pytest.fixture
def client(couchdb: CouchDBServer) -> Iterator[Client]:
    made = couchdb.client()
    yield made
    made.close()


@pytest.fixture
def installation(postgres_server: PostgresServer, database: str) -> Iterator[Installation]:
    made = Installation(postgres_server, database)
    made.init(DATABASE)
    yield made
    made.drop_roles()


class Ingest:
    """The ingest server on one port; it goes and comes back."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._running = ExitStack()
        self.served = self._running.enter_context(listening(installation))

    def stop(self) -> None:
        self._running.close()

    def start(self) -> None:
        self._running.enter_context(listening(self._installation, port=self.served.port))


@pytest.fixture
def ingest(installation: Installation) -> Iterator[Ingest]:
    made = Ingest(installation)
    yield made
    made.stop()


@pytest.fixture
def served(ingest: Ingest) -> Served:
    return ingest.served


@pytest.fixture
def line(tmp_path: Path, served: Served, couchdb: CouchDBServer) -> Iterator[RunningPipeline]:
    made = RunningPipeline(tmp_path, served, couchdb.port, database=DATABASE, reconnect_delay=1)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def monitor(line: RunningPipeline) -> Iterator[Api]:
    with api(line.metrics) as one:
        eventually(lambda: one.get("/readyz").status_code == 200)
        yield one


def write(client: Client, *ids: str, **content: Any) -> None:
    documents = [{"_id": id, "type": "person", **content} for id in ids]
    assert client.write(DATABASE, documents) == set(ids)


def ours(monitor: Api) -> dict[str, Any]:
    found: dict[str, Any] = monitor.json("/_node/stats/pipelines/medic")["pipelines"]["medic"]["cht_sync"]
    return found


def caught_up(monitor: Api) -> bool:
    figures = ours(monitor)
    return bool(figures["pending"] == 0 and figures["seconds_behind"] == 0 and not figures["in_flight"])


def await_documents(monitor: Api, count: int) -> None:
    eventually(lambda: monitor.json("/_node/stats")["events"]["out"] == count)


def test_after_a_load_the_figures_are_those_of_the_documents(
    line: RunningPipeline, monitor: Api, client: Client
) -> None:
    ids = [f"doc-{n:04}" for n in range(2500)]
    for at in range(0, len(ids), 500):
        write(client, *ids[at : at + 500])
    await_documents(monitor, 2500)
    eventually(lambda: caught_up(monitor))
    samples = monitor.samples()
    for name in ("documents_in_total", "documents_filtered_total", "documents_out_total"):
        assert samples[f"cht_sync_{name}"] == 2500
    assert samples["cht_sync_sent_bytes_total"] > samples["cht_sync_read_bytes_total"] > 2500 * 40
    assert 1 <= samples["cht_sync_batches_total"] <= 2500
    for name in ("retries_total", "dead_letters_total", "replaced_values_total", "problems"):
        assert samples[f"cht_sync_{name}"] == 0
    assert samples["cht_sync_last_acknowledged_timestamp_seconds"] > 1.7e9
    assert samples["cht_sync_last_document_timestamp_seconds"] > 1.7e9
    assert samples["cht_sync_rows_total"] == samples["cht_sync_batch_documents_sum"] == 2500
    assert samples["cht_sync_batch_documents_count"] == samples["cht_sync_batches_total"]
    assert samples["cht_sync_request_duration_seconds_count"] == samples["cht_sync_requests_total"]
    assert samples["cht_sync_request_duration_seconds_sum"] > 0
    plugins = monitor.json("/_node/stats/pipelines/medic")["pipelines"]["medic"]["plugins"]
    assert [(one["name"], one["events"]["in"], one["events"]["out"]) for one in plugins["filters"]] == [
        ("json", 2500, 2500),
        ("mutate", 0, 0),
        ("mutate", 2500, 2500),
    ]
    assert [(one["id"], one["events"]["out"]) for one in plugins["inputs"]] == [("medic-changes", 2500)]
    assert [(one["id"], one["events"]["out"]) for one in plugins["outputs"]] == [("medic-postgrest", 2500)]
    assert len(line.rows()) == 2500


def test_what_cannot_be_stored_is_counted(line: RunningPipeline, monitor: Api, client: Client) -> None:
    write(client, "fine")
    write(client, "nul", name="a\0b")
    await_documents(monitor, 2)
    eventually(lambda: monitor.samples()["cht_sync_replaced_values_total"] == 1)
    write(client, "zero\0id")
    eventually(lambda: monitor.samples()["cht_sync_dead_letters_total"] == 1)
    assert set(line.rows()) == {"fine", "nul"}


def test_without_postgrest_retries_are_counted_and_the_backlog_grows_and_falls(
    line: RunningPipeline, monitor: Api, client: Client, ingest: Ingest
) -> None:
    write(client, "before")
    await_documents(monitor, 1)
    eventually(lambda: caught_up(monitor))
    ingest.stop()
    write(client, *(f"first-{n}" for n in range(10)))
    eventually(lambda: monitor.samples()["cht_sync_retries_total"] >= 2)
    samples = monitor.samples()
    failed = 'cht_sync_failed_requests_total{pipeline="medic",source="127.0.0.1/medic",reason="unavailable"} '
    [line_of_failed] = [one for one in monitor.get("/metrics").text.splitlines() if one.startswith(failed)]
    assert int(line_of_failed.removeprefix(failed)) >= 2
    assert samples["cht_sync_pending_changes"] == 10
    assert samples["cht_sync_in_flight_documents"] > 0
    assert samples["cht_sync_problems"] == 1
    assert samples["cht_sync_pipeline_ready"] == 0
    behind = samples["cht_sync_seconds_behind"]
    assert behind > 0
    write(client, *(f"second-{n}" for n in range(20)))
    eventually(lambda: monitor.samples()["cht_sync_pending_changes"] == 30)
    assert monitor.samples()["cht_sync_seconds_behind"] > behind
    [reason] = monitor.get("/readyz").json()["reasons"]
    assert reason.startswith("medic: PostgREST does not answer")
    assert monitor.json("/_health_report")["status"] == "yellow"
    ingest.start()
    await_documents(monitor, 31)
    eventually(lambda: caught_up(monitor))
    assert monitor.get("/readyz").status_code == 200
    assert monitor.json("/_health_report")["status"] == "green"
    assert len(line.rows()) == 31


def test_without_couchdb_reconnects_are_counted_and_it_is_behind_until_it_is_back(
    line: RunningPipeline, monitor: Api, couchdb: CouchDBServer, client: Client
) -> None:
    write(client, "before")
    await_documents(monitor, 1)
    before = monitor.samples()["cht_sync_reconnects_total"]
    couchdb.node.stop()
    eventually(lambda: monitor.samples()["cht_sync_reconnects_total"] >= before + 2)
    samples = monitor.samples()
    assert samples["cht_sync_seconds_behind"] > 0
    assert samples["cht_sync_retries_total"] == 0
    [reason] = monitor.get("/readyz").json()["reasons"]
    assert reason.startswith("medic: http://127.0.0.1:")
    couchdb.node.start()
    write(client, "after")
    await_documents(monitor, 2)
    eventually(lambda: caught_up(monitor))
    assert monitor.get("/readyz").status_code == 200


def test_a_login_that_is_refused_waits_for_an_operator(
    tmp_path: Path, served: Served, couchdb: CouchDBServer
) -> None:
    line = RunningPipeline(tmp_path, served, couchdb.port, database=DATABASE, password="wrong")
    line.start()
    try:
        with api(line.metrics) as monitor:
            eventually(lambda: monitor.json("/")["status"] == "red")
            [reason] = monitor.get("/readyz").json()["reasons"]
            assert "wrong" not in monitor.get("/_health_report").text
            assert reason.startswith("medic: ")
            assert line.metrics.inputs[0].claimed
    finally:
        line.stop()


def test_another_writer_that_takes_over_is_shown(
    line: RunningPipeline, monitor: Api, served: Served, tmp_path: Path, couchdb: CouchDBServer
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = RunningPipeline(folder, served, couchdb.port, database=DATABASE)
    other.start()
    try:
        with api(other.metrics) as second:
            eventually(lambda: second.get("/readyz").status_code == 200)
            client = couchdb.client()
            write(client, "one")
            client.close()
            eventually(lambda: monitor.json("/")["status"] == "red")
            reasons = monitor.get("/readyz").json()["reasons"]
            assert any("standing by until it ends" in reason for reason in reasons)
            assert "medic: is not the writer of 127.0.0.1/medic yet" in reasons
            ours, theirs = monitor.samples(), second.samples()
            assert (ours["cht_sync_writer_claimed"], ours["cht_sync_superseded_total"]) == (0, 1)
            assert (theirs["cht_sync_writer_claimed"], theirs["cht_sync_superseded_total"]) == (1, 0)
            assert theirs["cht_sync_writer_epoch"] > ours["cht_sync_writer_epoch"]
            assert second.get("/readyz").status_code == 200
    finally:
        other.stop()


@pytest.fixture
def recorded_couchdb() -> Iterator[FakeCouchdb]:
    with fake_couchdb() as server:
        yield server


def test_what_couchdb_says_is_behind_a_page_is_pending(
    tmp_path: Path, ingest: Ingest, recorded_couchdb: FakeCouchdb
) -> None:
    recorded_couchdb.create()
    recorded_couchdb.write(*(f"doc-{n}" for n in range(50)))
    recorded_couchdb.hold = lambda request: "_changes" in request
    line = RunningPipeline(tmp_path, ingest.served, recorded_couchdb.port, database=DATABASE, batch_size=5)
    line.start()
    try:
        with api(line.metrics) as monitor:
            assert recorded_couchdb.is_held.wait(PATIENCE)
            assert line.metrics.inputs[0].claimed
            reasons = monitor.get("/readyz").json()["reasons"]
            assert reasons == ["medic: 127.0.0.1/medic is not being read yet"]
            ingest.stop()
            recorded_couchdb.held.set()
            eventually(lambda: monitor.samples()["cht_sync_pending_changes"] == 50)
            assert monitor.samples()["cht_sync_in_flight_documents"] == 5
            assert line.metrics.inputs[0].reading
            ingest.start()
            await_documents(monitor, 50)
            eventually(lambda: caught_up(monitor))
    finally:
        recorded_couchdb.held.set()
        line.stop()


def test_another_server_waits_for_an_operator_and_nothing_is_read(
    tmp_path: Path, served: Served, recorded_couchdb: FakeCouchdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_runner, "STANDBY", 0.05)
    recorded_couchdb.create()
    recorded_couchdb.write("one")
    line = RunningPipeline(tmp_path, served, recorded_couchdb.port, database=DATABASE)
    line.start()
    try:
        with api(line.metrics) as monitor:
            await_documents(monitor, 1)
            recorded_couchdb.uuid, before = "another", recorded_couchdb.uuid
            recorded_couchdb.break_connections()
            eventually(lambda: monitor.json("/")["status"] == "red")
            reasons = monitor.get("/readyz").json()["reasons"]
            assert any("this is another server" in reason for reason in reasons)
            assert monitor.samples()["cht_sync_seconds_behind"] > 0
            recorded_couchdb.uuid = before
            eventually(lambda: monitor.get("/readyz").status_code == 200)
            eventually(lambda: caught_up(monitor))
    finally:
        line.stop()


def test_what_is_written_while_postgrest_is_away_is_pending_though_there_is_no_room_for_it(
    tmp_path: Path, ingest: Ingest, recorded_couchdb: FakeCouchdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "MEANWHILE", 0.05)
    recorded_couchdb.create()
    recorded_couchdb.write("one")
    line = RunningPipeline(tmp_path, ingest.served, recorded_couchdb.port, database=DATABASE, batch_size=5)
    line.start()
    try:
        with api(line.metrics) as monitor:
            await_documents(monitor, 1)
            eventually(lambda: caught_up(monitor))
            ingest.stop()
            for at in range(0, 300, 3):
                recorded_couchdb.write(*(f"doc-{n}" for n in range(at, at + 3)))
            eventually(lambda: monitor.samples()["cht_sync_pending_changes"] == 300)
            recorded_couchdb.write("more")
            eventually(lambda: monitor.samples()["cht_sync_pending_changes"] == 301)
            ingest.start()
            await_documents(monitor, 302)
            eventually(lambda: caught_up(monitor))
            stats = monitor.json("/_node/stats/pipelines/medic")["pipelines"]["medic"]
            assert stats["events"]["queue_push_duration_in_millis"] > 0
            assert stats["flow"]["queue_backpressure"]["lifetime"] > 0
            assert stats["plugins"]["outputs"][0]["events"]["duration_in_millis"] > 0
    finally:
        line.stop()


class Unsteady(PostgrestConnection):
    """Fails the first time that it is asked."""

    def __init__(self) -> None:
        self.failures = 0

    def select(self, table: str, columns: Sequence[str], **equal: str) -> list[dict[str, Any]]:
        if not self.failures:
            self.failures = 1
            raise DestinationUnavailable("PostgREST does not answer")
        return []


def test_a_problem_is_over_when_postgrest_answers_a_question() -> None:
    metrics = OutputMetrics("output", "http", "out")
    seen: list[Problem | None] = []

    class Stop(ObservedStop):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append(metrics.problem.current)
            return super().wait(timeout)

    writer = Writer(Unsteady(), "", "", metrics=metrics)
    assert writer.is_released(Stop())
    [problem] = seen
    assert problem is not None
    assert (problem.serious, metrics.retries) == (False, 1)
    assert metrics.problem.current is None


def test_the_page_has_every_metric_of_a_running_engine_and_no_other(
    line: RunningPipeline, monitor: Api, client: Client
) -> None:
    write(client, "ada")
    eventually(lambda: monitor.samples().get("cht_sync_rows_total") == 1)
    assert list(differences("logstash", monitor.get("/metrics").text)) == []


def test_without_postgrest_the_alerts_fire(
    line: RunningPipeline, monitor: Api, client: Client, ingest: Ingest, tmp_path: Path
) -> None:
    write(client, "before")
    await_documents(monitor, 1)
    eventually(lambda: caught_up(monitor))
    before = monitor.get("/metrics").text
    ingest.stop()
    write(client, "after")
    eventually(lambda: monitor.samples()["cht_sync_retries_total"] >= 2)
    after = monitor.get("/metrics").text
    assert_firing(tmp_path, before, after, minutes=12, alerts=["ChtSyncNotReady", "ChtSyncNoProgress"])
    ingest.start()


def test_for_a_dead_letter_an_alert_fires(
    line: RunningPipeline, monitor: Api, client: Client, tmp_path: Path
) -> None:
    write(client, "fine")
    await_documents(monitor, 1)
    before = monitor.get("/metrics").text
    write(client, "zero\0id")
    eventually(lambda: monitor.samples()["cht_sync_dead_letters_total"] == 1 and caught_up(monitor))
    after = monitor.get("/metrics").text
    assert_firing(tmp_path, before, after, minutes=3, alerts=["ChtSyncDeadLetters"])
    assert_firing(tmp_path, before, before, minutes=3, alerts=[])


def test_when_another_writer_takes_over_an_alert_fires(
    line: RunningPipeline,
    monitor: Api,
    served: Served,
    tmp_path: Path,
    couchdb: CouchDBServer,
    client: Client,
) -> None:
    before = monitor.get("/metrics").text
    folder = tmp_path / "other"
    folder.mkdir()
    other = RunningPipeline(folder, served, couchdb.port, database=DATABASE)
    other.start()
    try:
        write(client, "one")
        eventually(lambda: monitor.samples()["cht_sync_superseded_total"] == 1)
        after = monitor.get("/metrics").text
        assert_firing(tmp_path, before, after, minutes=3, alerts=["ChtSyncTakenOver"])
    finally:
        other.stop()
