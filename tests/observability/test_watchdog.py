"""cht-watchdog's panels find what they ask for, and its sql_exporter what its queries ask for."""

from __future__ import annotations

import math
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser
import psycopg2
import pytest
import requests
from alerting import promtool
from free_ports import free_port
from monitoring_table import PAGE
from pipeline.fake_couchdb import fake_couchdb
from pipeline.monitoring import api
from pipeline.running_pipeline import RunningPipeline
from postgres_fixture import PostgresServer
from prometheus_client.parser import text_string_to_metric_families
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from transform.generations import VIEW, generation
from transform.looping import looping
from transform.warehouse import Warehouse, create_warehouse, run
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import Served, listening

from cht_sync import watchdog
from cht_sync.pipeline.input_runner import SIGN_OF_LIFE
from cht_sync.pipeline.monitor.host import Host
from cht_sync.pipeline.monitor.metrics import InputMetrics, PipelineMetrics, Registry
from cht_sync.pipeline.monitor.prometheus import exposition
from cht_sync.transform.changes import Newest, connected
from cht_sync.transform.history import History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.pace import Pace
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.runner import DbtRunner

HOST = "127.0.0.1"
DATABASES = ("medic", "medic-users-meta", "medic-sentinel")
PANELS = {
    "cht_admin_details.json, one panel": 'couch2pg_progress_sequence{target=~"$cht_instance", db=~"medic"}',
    "cht_admin_details.json, another one": (
        'couch2pg_progress_sequence{target=~"$cht_instance", db=~"medic-users-meta"}'
    ),
    "cht_admin_details.json, the third one": (
        'couch2pg_progress_sequence{target=~"$cht_instance", db=~"medic-sentinel"}'
    ),
    "cht_admin_overview.json": 'couch2pg_progress_pending{target="$cht_instance"}',
}
"""What cht-watchdog's panels ask for; $cht_instance is a host name of its cht-instances.yml."""

PROGRESS = """
select split_part(seq, '-', 1) as sequence, pending,
  case when updated_at < now() - interval '1 minute' then 0 else 1 end as liveness,
  split_part(source, '/', 2) as db, split_part(source, '/', 1) as cht_instance
from v1.couchdb_progress where source like '%/%' and seq like '%-%' order by cht_instance, db
"""
LATENCY = """
select extract(epoch from (couchdb.latest - dbt_root.latest)) as dbt_latency
from (select max(saved_timestamp) as latest from dbt.document_metadata) as dbt_root,
  (select max(saved_timestamp) as latest from v1.couchdb) as couchdb
"""
RESULTS = "select status, execution_time, name as table_name from dbt.dbt_results"
"""The tables and columns of its collector for cht-sync, with our schema of models."""
NAMES = (watchdog.SEQUENCE.name, watchdog.PENDING.name, watchdog.UP.name)
COLUMNS_OF_RESULTS = """
select attname from pg_attribute
where attrelid = 'dbt.dbt_results'::regclass and attnum > 0 order by attnum
"""
COLUMNS_OF_CHT_PIPELINE = (
    "result_id", "invocation_id", "unique_id", "database_name", "schema_name", "name", "resource_type",
    "status", "start_time", "end_time", "execution_time", "rows_affected",
)  # fmt: skip
"""Of its model dbt_results."""


@dataclass(frozen=True)
class Series:
    """One sample; the parser gives a counter an ending that this one never had, and it is taken off."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


def scraped(text: str) -> set[Series]:
    """What begins with the names that cht-watchdog knows."""
    return {
        Series(sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("couch2pg_", "dbt_"))
    }


def of_database(name: str, value: float, database: str) -> Series:
    return Series(name, (("cht_instance", HOST), ("db", database), ("target", HOST)), value)


def found(expression: str, series: set[Series]) -> set[Series]:
    """The series that a selector finds, as Prometheus would."""
    selector = promql_parser.parse(expression.replace("$cht_instance", HOST))
    left = {one for one in series if one.name == selector.name}
    for matcher in selector.matchers.matchers:
        pattern = matcher.value if matcher.op == promql_parser.MatchOp.Re else re.escape(matcher.value)
        left = {one for one in left if re.fullmatch(pattern, dict(one.labels).get(matcher.name, ""))}
    return left


def ask(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.fixture
def served(postgres_server: PostgresServer, database: str) -> Iterator[Served]:
    installation = Installation(postgres_server, database)
    installation.init(" ".join(DATABASES))
    with listening(installation) as served:
        yield served
    installation.drop_roles()


@pytest.fixture
def world(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse for our own package."""
    options = create_warehouse(postgres_server, tmp_path / "dbt")
    with closing(psycopg2.connect(postgres_server.dsn(options.database))) as connection:
        yield Warehouse(connection, options)


def told_by_queries(connection: Connection) -> set[Series]:
    """The series that sql_exporter makes of the query of progress."""
    return {
        of_database(name, float(value), database)
        for *values, database, instance in ask(connection, PROGRESS)
        for name, value in zip(NAMES, values, strict=True)
        if instance == HOST
    }


def exposed(*inputs: InputMetrics) -> set[Series]:
    """What pipelines with these inputs tell, one each."""
    registry = Registry()
    for number, one in enumerate(inputs):
        pipeline = PipelineMetrics(f"pipeline-{number}")
        pipeline.inputs.append(one)
        registry.add(pipeline)
    return scraped(exposition(registry, Host(Path())))


@pytest.fixture
def source() -> InputMetrics:
    return of_medic()


def of_medic() -> InputMetrics:
    made = InputMetrics("input", "couchdb_changes", "feed")
    made.source = f"{HOST}/medic"
    return made


def test_the_panels_find_what_the_pipelines_and_the_queries_tell(served: Served, tmp_path: Path) -> None:
    expected = {
        of_database(name, value, database)
        for documents, database in enumerate(DATABASES, start=1)
        for name, value in zip(NAMES, (documents, 0, 1), strict=True)
    }
    with ExitStack() as stack, fake_couchdb() as couchdb:
        lines = []
        for documents, database in enumerate(DATABASES, start=1):
            couchdb.create(database)
            couchdb.write(*(f"doc-{n}" for n in range(documents)), database=database)
            folder = tmp_path / database
            folder.mkdir()
            line = RunningPipeline(folder, served, couchdb.port, database=database)
            line.start()
            stack.callback(line.stop)
            lines.append(line)
        monitor = stack.enter_context(api(*(line.metrics for line in lines)))
        eventually(lambda: scraped(monitor.get("/metrics").text) == expected)
        text = monitor.get("/metrics").text
        with served.installation.connected() as connection:
            eventually(lambda: told_by_queries(connection) == expected)
    assert f"# TYPE {NAMES[0]} counter\n" in text
    assert f"# TYPE {NAMES[1]} gauge\n" in text
    assert {panel: len(found(PANELS[panel], scraped(text))) for panel in PANELS} == dict(
        zip(PANELS, (1, 1, 1, 3), strict=True)
    )


def test_prometheus_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    section = PAGE.read_text().split("\n## cht-watchdog\n", 1)[1]
    [configuration] = re.findall(r"```yaml\n(.+?)```", section, re.DOTALL)
    file = tmp_path / "prometheus.yml"
    file.write_text(configuration)
    promtool("check", "config", file)


def test_a_pipeline_that_goes_on_tells_where_from_before_it_has_read(source: InputMetrics) -> None:
    source.claims("17-g1AAAA")
    assert of_database(NAMES[0], 17, "medic") in exposed(source)


def test_without_a_position_or_with_one_that_has_no_number_there_is_no_sequence(source: InputMetrics) -> None:
    assert {one.name for one in exposed(source)} == {NAMES[1], NAMES[2]}
    source.claims("now")
    assert {one.name for one in exposed(source)} == {NAMES[1], NAMES[2]}


def test_up_is_one_for_a_minute_after_a_position_was_stored(
    source: InputMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_database(NAMES[2], 0, "medic") in exposed(source)
    ages = {59.0: 1, 61.0: 0}
    for age, up in ages.items():
        monkeypatch.setattr(source, "seconds_since_stored", lambda age=age: age)
        assert of_database(NAMES[2], up, "medic") in exposed(source)


def test_an_idle_pipeline_stores_its_position_in_time_to_stay_up() -> None:
    assert SIGN_OF_LIFE < watchdog.ALIVE_FOR


def test_who_stands_by_tells_nothing_and_all_again_as_the_writer(source: InputMetrics) -> None:
    source.claims("17-g1AAAA")
    source.loses_claim()
    assert exposed(source) == set()
    source.claims("18-g1AAAA")
    assert len(exposed(source)) == 3


def test_two_pipelines_of_one_database_are_one_series_of_the_slower_one(source: InputMetrics) -> None:
    other = of_medic()
    source.claims("17-g1AAAA")
    other.claims("9-g1AAAA")
    other.offered(5, 100, behind=0, at_end=True)
    assert exposed(source, other) == {
        of_database(name, value, "medic") for name, value in zip(NAMES, (9, 5, 1), strict=True)
    }


def test_the_loop_tells_how_far_models_are_behind_and_how_long_each_took(
    world: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    looks = threading.Semaphore(0)
    may_run = threading.Event()
    may_run.set()

    def text() -> str:
        return requests.get(f"http://{HOST}:{port}/metrics", timeout=10).text

    def latency() -> float:
        [series] = [one for one in scraped(text()) if one.name == "dbt_latency"]
        return series.value

    due = Pace.due

    def due_if_it_may(pace: Pace, newest: Newest, now: float) -> bool:
        looks.release()
        return may_run.is_set() and due(pace, newest, now)

    monkeypatch.setattr(Pace, "due", due_if_it_may)
    with looping(replace(world.options, metrics_port=port, test_interval=0.0)):
        assert looks.acquire(timeout=60)
        eventually(lambda: len(ask(world.connection, "select to_regclass('dbt.dbt_runs')::text")) == 1)
        assert math.isnan(latency())
        world.put("ada", {"type": "person", "name": "Ada"})
        eventually(lambda: latency() == 0)
        may_run.clear()
        world.put("eva", {"type": "person", "name": "Eva"})
        eventually(lambda: latency() > 0)
        [(asked,)] = ask(world.connection, LATENCY)
        assert latency() == pytest.approx(float(asked))
        may_run.set()
        eventually(lambda: latency() == 0)
    assert [(float(seconds),) for (seconds,) in ask(world.connection, LATENCY)] == [(0.0,)]


def test_the_execution_times_are_those_of_the_last_results(world: Warehouse) -> None:
    world.put("ada", {"type": "person", "name": "Ada"})
    metrics = Metrics()
    history = History("dbt", 14)
    dbt = DbtRunner(world.options)
    with connected(world.options) as connection:
        for _ in range(2):
            outcome = run(dbt)
            metrics.ran(outcome, failing=())
            history.record(connection, outcome)
    told = {
        (dict(one.labels)["table_name"], one.value)
        for one in scraped(metrics.text().decode())
        if one.name == "dbt_execution_time"
    }
    rows = ask(world.connection, RESULTS)
    assert {(name, seconds) for _status, seconds, name in rows} == told
    assert len(rows) == len(told) > 10
    assert {status for status, _seconds, _name in rows} == {"success"}


def test_the_view_of_results_has_the_columns_of_cht_pipeline_and_says_what_became_of_a_node(
    world: Warehouse,
) -> None:
    failed = NodeResult("births", "model.p.births", "model", "error", 0.5, None, "no date")
    hook = NodeResult("p-on-run-end-0", "operation.p.p-on-run-end-0", "operation", "success")
    at = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    with connected(world.options) as connection:
        history = History("dbt", 36_500)
        history.record(
            connection, RunOutcome("one", "run", at, 2.0, (replace(failed, status="success"), hook))
        )
        history.record(connection, RunOutcome("two", "run", at + timedelta(hours=1), 2.0, (failed, hook)))
    [row] = ask(world.connection, "select to_jsonb(one) from dbt.dbt_results as one")
    assert tuple(name for (name,) in ask(world.connection, COLUMNS_OF_RESULTS)) == COLUMNS_OF_CHT_PIPELINE
    assert row[0] == {
        "result_id": "two.model.p.births",
        "invocation_id": "two",
        "unique_id": "model.p.births",
        "database_name": world.options.database,
        "schema_name": "dbt",
        "name": "births",
        "resource_type": "model",
        "status": "error",
        "start_time": "2026-03-01T09:00:00",
        "end_time": "2026-03-01T09:00:00.5",
        "execution_time": 0.5,
        "rows_affected": 0,
    }


def test_a_package_with_a_model_of_that_name_takes_the_place_of_the_view(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with generation(postgres_server, tmp_path, "generation_2x", schema="v1", model_table=VIEW) as made:
        view = "select relkind::text from pg_class where oid = to_regclass('v1.dbt_results')"
        of_another = RunOutcome("one", "run", datetime.now(UTC), 1.0)
        with connected(made.options) as connection:
            History("v1", 14).record(connection, of_another)
            assert ask(made.warehouse.connection, view) == [("v",)]
            outcome = made.run()
            assert ask(made.warehouse.connection, view) == [("r",)]
            History("v1", 14).record(connection, outcome)
        assert ask(made.warehouse.connection, view) == [("r",)]
        made.run()
        [(kept,)] = ask(
            made.warehouse.connection,
            "select count(distinct split_part(result_id, '.', 1)) from v1.dbt_results",
        )
        assert kept == 2


def test_no_view_is_made_where_the_package_has_a_model_of_that_name_that_failed(world: Warehouse) -> None:
    model = NodeResult("dbt_results", "model.p.dbt_results", "model", "error")
    with connected(world.options) as connection:
        History("dbt", 14).record(connection, RunOutcome("one", "run", datetime.now(UTC), 1.0, (model,)))
    assert ask(world.connection, "select to_regclass('dbt.dbt_results')") == [(None,)]


def test_the_role_of_the_page_reads_what_the_queries_ask_for_and_no_document(
    world: Warehouse, postgres_server: PostgresServer
) -> None:
    role, password = f"{world.options.database}_watchdog", secrets.token_hex(8)
    world.put("ada", {"type": "person", "name": "Ada"})
    dbt = DbtRunner(world.options)
    with connected(world.options) as connection:
        History("dbt", 14).record(connection, run(dbt))
    [statements] = re.findall(r"```sql\n(create role .+?)```", PAGE.read_text(), re.DOTALL)
    with world.connection, world.connection.cursor() as cursor:
        cursor.execute(statements.replace("data_watchdog", role))
        cursor.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        )
    try:
        run(dbt, full_refresh=True)
        login = psycopg2.connect(
            host=postgres_server.host,
            port=postgres_server.port,
            dbname=world.options.database,
            user=role,
            password=password,
        )
        with closing(login):
            ask(login, PROGRESS)
            assert ask(login, LATENCY) == [(0,)]
            assert len(ask(login, RESULTS)) > 10
            for refused in (
                "select doc from v1.couchdb",
                "select _id from v1.medic",
                "select uuid from dbt.document_metadata",
                "select name from dbt.person",
                "select document from v1.dead_letters",
                "delete from v1.couchdb_progress returning 1",
            ):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    ask(login, refused)
    finally:
        with world.connection, world.connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))
