"""The monitoring API: Logstash's paths and shapes, and ours."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from free_ports import free_port
from loopback_server import LoopbackServer, serving
from monitoring import PATIENCE, Api, api
from prometheus_client.parser import text_string_to_metric_families
from waiting import eventually

from cht_sync.cli import main as command_line
from cht_sync.errors import ServiceError
from cht_sync.pipeline.monitor import server
from cht_sync.pipeline.monitor.metrics import InputMetrics, OutputMetrics, PipelineMetrics, Registry
from cht_sync.pipeline.monitor.node import node_id
from cht_sync.pipeline.monitor.server import ports, serve_monitor
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.sources import PipelineSettings, PipelineSource, load_all

GOLDEN = Path(__file__).parent / "golden" / "monitoring-api.json"
CONFIG = """
input { generator { count => 20 message => '{"n": 1}' id => "numbers" } }
filter {
  json { source => "message" }
  if [n] == 1 { mutate { add_tag => "one" } } else { mutate { add_tag => "other" id => "other" } }
}
output { null { id => "nowhere" } }
"""
SHAPES = (
    "/",
    "/_node",
    "/_node/pipelines",
    "/_node/pipelines/main",
    "/_node/plugins",
    "/_node/logging",
    "/_node/stats",
    "/_node/stats?vertices=true",
    "/_node/stats/pipelines/main",
    "/_health_report",
    "/healthz",
)
READ_BY_METRICBEAT = """
id:str ephemeral_id:str name:str host:str version:str snapshot:bool status:str http_address:str
pipeline.batch_size:int pipeline.workers:int
jvm.gc.collectors.young.collection_count:int jvm.gc.collectors.old.collection_count:int
jvm.mem.heap_max_in_bytes:int jvm.mem.heap_used_in_bytes:int jvm.mem.heap_used_percent:int
jvm.uptime_in_millis:int
events.duration_in_millis:int events.in:int events.filtered:int events.out:int
reloads.successes:int reloads.failures:int queue.events_count:int
process.open_file_descriptors:int process.max_file_descriptors:int process.cpu.percent:int
process.cpu.load_average.1m:float
pipelines.main.hash:str pipelines.main.ephemeral_id:str pipelines.main.events.out:int
pipelines.main.reloads.successes:int pipelines.main.queue.type:str pipelines.main.vertices:list
"""
READ_BY_EXPORTERS = """
pipeline.batch_delay:int
jvm.threads.count:int jvm.threads.peak_count:int
jvm.mem.heap_committed_in_bytes:int jvm.mem.non_heap_used_in_bytes:int
jvm.mem.non_heap_committed_in_bytes:int
jvm.mem.pools.young.peak_max_in_bytes:int jvm.mem.pools.old.used_in_bytes:int
jvm.mem.pools.survivor.max_in_bytes:int jvm.mem.pools.old.peak_used_in_bytes:int
jvm.gc.collectors.young.collection_time_in_millis:int
process.peak_open_file_descriptors:int process.mem.total_virtual_in_bytes:int
process.cpu.total_in_millis:int
events.queue_push_duration_in_millis:int
flow.input_throughput.current:float flow.filter_throughput.lifetime:float
flow.output_throughput.current:float flow.queue_backpressure.current:float
flow.worker_concurrency.lifetime:float
pipelines.main.flow.worker_utilization.current:float
pipelines.main.plugins.inputs.0.id:str pipelines.main.plugins.inputs.0.name:str
pipelines.main.plugins.inputs.0.events.out:int
pipelines.main.plugins.inputs.0.events.queue_push_duration_in_millis:int
pipelines.main.plugins.filters.0.events.in:int pipelines.main.plugins.filters.0.events.out:int
pipelines.main.plugins.filters.0.events.duration_in_millis:int
pipelines.main.plugins.filters.0.flow.worker_millis_per_event.lifetime:float
pipelines.main.plugins.outputs.0.flow.worker_utilization.current:float
pipelines.main.plugins.codecs:list
pipelines.main.queue.queue_size_in_bytes:int pipelines.main.queue.max_queue_size_in_bytes:int
pipelines.main.queue.events_count:int pipelines.main.events.queue_push_duration_in_millis:int
"""


def loaded(folder: Path, config: str = CONFIG, name: str = "main") -> PipelineMetrics:
    """The metrics of a pipeline that was built and does not run."""
    return load_all([PipelineSource(name, config)], {}, folder)[0].pipeline.metrics


@pytest.fixture
def metrics(tmp_path: Path) -> PipelineMetrics:
    """Those of a pipeline that has run to its end."""
    pipelines = load_all([PipelineSource("main", CONFIG)], {}, tmp_path)
    run_pipelines(pipelines, threading.Event())
    return pipelines[0].pipeline.metrics


@pytest.fixture
def main(metrics: PipelineMetrics) -> Iterator[Api]:
    with api(metrics) as one:
        yield one


@pytest.fixture
def running() -> PipelineMetrics:
    """Those of a pipeline that does its work; its parts can be made to fail."""
    made = PipelineMetrics("medic", state="running")
    source = made.add("input", "couchdb_changes", None)
    made.add("output", "http", None)
    assert isinstance(source, InputMetrics)
    source.source, source.claimed = "couchdb/medic", True
    source.started()
    return made


def output_of(pipeline: PipelineMetrics) -> OutputMetrics:
    return pipeline.outputs[0]


def shape(value: Any) -> Any:
    """The types instead of the values; lists by their first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "null" if value is None else type(value).__name__


def found(answer: Any, path: str) -> Any:
    for part in path.split("."):
        answer = answer[int(part)] if isinstance(answer, list) else answer[part]
    return answer


def test_the_shapes_are_the_golden_ones(main: Api) -> None:
    shapes = {path: shape(main.json(path)) for path in SHAPES}
    shapes["/_node/logging"]["loggers"] = "those of this process"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(shapes, indent=1) + "\n")
    assert shapes == json.loads(GOLDEN.read_text())


def test_each_pipeline_says_where_its_dead_letters_are(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    sources = [
        PipelineSource("main", CONFIG),
        PipelineSource("own", CONFIG, PipelineSettings(dead_letter_folder=elsewhere)),
    ]
    with api(*(one.pipeline.metrics for one in load_all(sources, {}, tmp_path))) as served:
        told = {id: one["dead_letter_queue_path"] for id, one in served.json("/_node")["pipelines"].items()}
    assert told == {
        "main": str(tmp_path / "dead_letter_queue" / "main.jsonl"),
        "own": str(elsewhere / "own.jsonl"),
    }


@pytest.mark.parametrize("wanted", (READ_BY_METRICBEAT + READ_BY_EXPORTERS).split())
def test_what_metricbeat_and_exporters_read_is_there_and_of_their_type(wanted: str, main: Api) -> None:
    path, _, kind = wanted.rpartition(":")
    assert type(found(main.json("/_node/stats?vertices=true"), path)).__name__ == kind


def test_the_figures_of_a_pipeline_are_those_of_its_events(main: Api) -> None:
    stats = main.json("/_node/stats")
    pipeline = stats["pipelines"]["main"]
    for events in (stats["events"], pipeline["events"]):
        assert (events["in"], events["filtered"], events["out"]) == (20, 20, 20)
    plugins = pipeline["plugins"]
    assert [(one["id"], one["name"], one["events"]["out"]) for one in plugins["inputs"]] == [
        ("numbers", "generator", 20)
    ]
    assert [(one["id"], one["events"]["in"], one["events"]["out"]) for one in plugins["filters"]] == [
        ("filter_json_1", 20, 20),
        ("filter_mutate_2", 20, 20),
        ("other", 0, 0),
    ]
    assert [(one["id"], one["events"]["in"]) for one in plugins["outputs"]] == [("nowhere", 20)]


def test_a_dropped_event_is_filtered_and_not_out(tmp_path: Path) -> None:
    config = CONFIG.replace('mutate { add_tag => "one" }', "drop { }")
    pipelines = load_all([PipelineSource("main", config)], {}, tmp_path)
    run_pipelines(pipelines, threading.Event())
    totals = pipelines[0].pipeline.metrics.totals()
    assert (totals.events_in, totals.filtered, totals.out) == (20, 20, 0)


class Moody(BaseHTTPRequestHandler):
    """Answers the next of `answers`; 200 when there is none left."""

    answers: ClassVar[list[int]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_what_an_http_output_sends_retries_and_gives_up_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Moody, "answers", [503, 503, 200, 400])
    with serving(LoopbackServer(Moody)) as receiver:
        config = f"""
        input {{ generator {{ count => 3 }} }}
        output {{
          http {{ url => "http://127.0.0.1:{receiver.port}/" http_method => post format => json }}
        }}
        """
        pipelines = load_all([PipelineSource("main", config)], {}, tmp_path)
        run_pipelines(pipelines, threading.Event())
    output = output_of(pipelines[0].pipeline.metrics)
    assert (output.requests, output.retries, output.dead_letters) == (2, 2, 1)
    assert output.bytes > 2 * len('{"message":"Hello world!"}')
    assert output.problem.current is None


def test_a_plugin_without_metrics_is_not_shown(tmp_path: Path) -> None:
    config = CONFIG.replace("json { source", "json { enable_metric => false source")
    with api(loaded(tmp_path, config)) as one:
        filters = one.json("/_node/stats/pipelines/main")["pipelines"]["main"]["plugins"]["filters"]
        assert [plugin["name"] for plugin in filters] == ["mutate", "mutate"]
        assert 'name="json"' not in one.get("/metrics").text


def test_a_filter_chooses_members_and_the_common_ones_stay(main: Api) -> None:
    common = set(main.json("/")) - {"build_snapshot", "cht_sync"}
    assert set(main.json("/_node/stats/jvm,events,nothing")) - common == {"jvm", "events"}
    assert set(main.json("/_node/os,jvm")) - common == {"os", "jvm"}
    assert set(main.json("/_node/stats/pipelines/main/")) - common == {"pipelines"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/_node/nothing",
        "/_node/stats/nothing",
        "/_node/pipelines/other",
        "/_node/stats/pipelines/other",
        "/_node/stats/jvm/main",
        "/_node/jvm/pid",
        "/_node/stats/pipelines/main/events",
        "/%00",
    ],
)
def test_what_is_not_there_is_a_json_error(path: str, main: Api) -> None:
    answer = main.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["status"] == 404
    assert answer.json()["error"] == {"message": "Not Found"}


def test_nothing_can_be_deleted_or_posted(main: Api) -> None:
    assert main.put("/_node/stats", "{}").status_code == 404
    assert main.put("/", "{}").status_code == 404


def test_a_head_has_the_headers_of_a_get_and_no_body(main: Api) -> None:
    got = main.get("/_node/plugins")
    head = requests.head(got.url, timeout=PATIENCE)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_process_that_cannot_look_at_itself_goes_on_answering(
    main: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def broken(*_args: object) -> None:
        asked.set()
        raise OSError("too many open files")

    monkeypatch.setattr(server, "EVERY", 0.0)
    monkeypatch.setattr("cht_sync.pipeline.monitor.host.Host.sample", broken)
    assert asked.wait(PATIENCE)
    assert main.json("/healthz") == {"status": "ok"}


def test_pretty_indents_and_says_the_same(main: Api) -> None:
    plain, pretty = main.get("/_node/pipelines").text, main.get("/_node/pipelines?pretty").text
    assert "\n" not in plain
    assert '\n  "pipelines": {' in pretty
    assert json.loads(plain) == json.loads(pretty)


def test_an_invalid_boolean_is_refused(main: Api) -> None:
    answer = main.get("/_node/stats?vertices=maybe")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == 'invalid value for Boolean: "maybe"'


def test_the_plugins_are_named_as_logstash_names_them(main: Api) -> None:
    answer = main.json("/_node/plugins")
    names = [one["name"] for one in answer["plugins"]]
    assert answer["total"] == len(names)
    assert {"logstash-input-couchdb_changes", "logstash-filter-json", "logstash-output-http"} <= set(names)


# Health.


def test_a_pipeline_that_does_its_work_is_green_and_ready(running: PipelineMetrics) -> None:
    with api(running) as one:
        assert one.json("/")["status"] == "green"
        report = one.json("/_health_report")
        assert report["symptom"] == "1 indicator is healthy (`pipelines`)"
        assert report["indicators"]["pipelines"]["indicators"]["medic"] == {
            "status": "green",
            "symptom": "The pipeline is healthy",
            "details": {"status": {"state": "RUNNING"}},
        }
        assert one.json("/readyz") == {"ready": True, "reasons": []}
        assert one.samples()["cht_sync_pipeline_ready"] == 1


@pytest.mark.parametrize(("serious", "degree"), [(False, "yellow"), (True, "red")])
def test_a_pipeline_that_waits_says_for_what_and_recovers(
    serious: bool, degree: str, running: PipelineMetrics
) -> None:
    with api(running) as one:
        output_of(running).failed("PostgREST does not answer", serious=serious)
        assert one.json("/_node")["status"] == degree
        indicator = one.json("/_health_report")["indicators"]["pipelines"]["indicators"]["medic"]
        assert indicator["status"] == degree
        assert indicator["symptom"].endswith("; 1 area is impacted and 1 diagnosis is available")
        assert indicator["diagnosis"][0]["cause"].endswith(": PostgREST does not answer")
        assert indicator["impacts"][0]["impact_areas"] == ["pipeline_execution"]
        answer = one.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reasons": ["medic: PostgREST does not answer"]}
        assert one.samples()["cht_sync_problems"] == 1
        output_of(running).answered()
        assert one.json("/")["status"] == "green"
        assert one.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("state", "degree"), [("loading", "yellow"), ("finished", "yellow"), ("terminated", "red")]
)
def test_a_pipeline_that_does_not_run_is_not_ready(state: Any, degree: str, running: PipelineMetrics) -> None:
    running.state = state
    with api(running) as one:
        indicator = one.json("/_health_report")["indicators"]["pipelines"]["indicators"]["medic"]
        assert indicator["status"] == degree
        assert indicator["details"]["status"]["state"] == state.upper()
        assert indicator["diagnosis"][0]["id"] == f"logstash:health:pipeline:status:diagnosis:{state}"
        assert one.get("/readyz").json()["reasons"] == [f"medic: {state}"]


def test_a_pipeline_that_failed_is_red_with_its_reason_until_it_begins_again(
    running: PipelineMetrics,
) -> None:
    running.failed("/data/seq: No space left on device")
    with api(running) as one:
        report = one.json("/_health_report")
        assert report["status"] == "red"
        indicator = report["indicators"]["pipelines"]["indicators"]["medic"]
        assert indicator["details"]["status"]["state"] == "TERMINATED"
        assert indicator["diagnosis"][0]["cause"].endswith(": /data/seq: No space left on device")
        assert "tried again" in indicator["diagnosis"][0]["action"]
        reasons = one.get("/readyz").json()["reasons"]
        assert reasons == ["medic: terminated: /data/seq: No space left on device"]
        ours = one.json("/_node/stats/pipelines/medic")["pipelines"]["medic"]["cht_sync"]
        assert (ours["state"], ours["failures"]) == ("terminated", 1)
        assert ours["problems"] == ["/data/seq: No space left on device"]
        samples = one.samples()
        assert (samples["cht_sync_pipeline_failed"], samples["cht_sync_pipeline_failures_total"]) == (1, 1)
        assert samples["cht_sync_pipeline_ready"] == 0
        running.begins_again()
        assert one.json("/")["status"] == "green"
        assert one.samples()["cht_sync_pipeline_failed"] == 0


def test_one_that_has_not_claimed_its_source_or_does_not_read_is_not_ready(running: PipelineMetrics) -> None:
    source = running.inputs[0]
    with api(running) as one:
        source.connecting()
        assert one.get("/readyz").json()["reasons"] == ["medic: couchdb/medic is not being read yet"]
        source.claimed = False
        assert one.get("/readyz").json()["reasons"] == ["medic: is not the writer of couchdb/medic yet"]


def test_the_worst_pipeline_decides(running: PipelineMetrics, metrics: PipelineMetrics) -> None:
    other = PipelineMetrics("other", state="terminated")
    with api(running, metrics, other) as one:
        report = one.json("/_health_report")
        assert report["status"] == "red"
        assert report["indicators"]["pipelines"]["symptom"] == (
            "1 indicator is unhealthy (`other`), 1 indicator is concerning (`main`), "
            "and 1 indicator is healthy (`medic`)"
        )


def test_without_a_pipeline_nothing_is_ready_and_the_process_lives() -> None:
    with api() as one:
        assert one.get("/readyz").json()["reasons"] == ["no pipeline runs"]
        assert one.json("/healthz") == {"status": "ok"}
        assert one.json("/_node/stats")["pipelines"] == {}


def test_a_pipeline_that_is_removed_or_made_anew_is_shown_so(running: PipelineMetrics) -> None:
    with api(running) as one:
        one.json("/_node/stats")
        one.registry.reload_failed("medic", "medic.conf:1:1: unknown filter")
        assert one.json("/_node/stats/pipelines/medic")["pipelines"]["medic"]["hash"] == ""
        one.registry.reloaded(one.registry.renewed("medic", "new"))
        stats = one.json("/_node/stats")
        pipeline = stats["pipelines"]["medic"]
        assert pipeline["hash"] == "new"
        assert (pipeline["reloads"]["successes"], pipeline["reloads"]["failures"]) == (1, 1)
        assert pipeline["reloads"]["last_error"]["message"] == "medic.conf:1:1: unknown filter"
        assert stats["reloads"] == {"successes": 1, "failures": 1}
        assert one.samples()["cht_sync_failed_reloads_total"] == 1
        one.registry.remove("medic")
        assert one.get("/_node/stats/pipelines/medic").status_code == 404


# Waiting for a status.


def test_a_status_can_be_waited_for(running: PipelineMetrics) -> None:
    output_of(running).failed("away", serious=True)
    with api(running) as one, ThreadPoolExecutor() as pool:
        waiting = pool.submit(one.get, "/?wait_for_status=green&timeout=60s")
        assert one.get("/?wait_for_status=yellow&timeout=10ms").status_code == 408
        assert one.get("/?wait_for_status=RED&timeout=10ms").status_code == 200
        output_of(running).answered()
        assert waiting.result(PATIENCE).json()["status"] == "green"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("wait_for_status=green", "A timeout must be provided along with a status."),
        (
            "wait_for_status=blue&timeout=1s",
            "Invalid status 'blue' provided. The valid statuses are: green, yellow, red.",
        ),
        ("wait_for_status=green&timeout=soon", "Invalid timeout 'soon' provided."),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(query: str, message: str, main: Api) -> None:
    answer = main.get(f"/?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


def test_those_who_wait_keep_nobody_else_from_an_answer(running: PipelineMetrics) -> None:
    output_of(running).failed("away", serious=True)
    with ThreadPoolExecutor() as pool:
        with api(running) as one:
            asked = [pool.submit(one.get, "/?wait_for_status=green&timeout=60s") for _ in range(6)]
            eventually(lambda: sum(request.done() for request in asked) == 4)
            assert one.json("/healthz") == {"status": "ok"}
        # The end of the API ends the waits, with an answer.
        statuses = sorted(request.result(PATIENCE).status_code for request in asked)
        assert statuses == [408, 408, 429, 429, 429, 429]


# Levels.


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("cht_sync.of_a_test")
    yield made
    made.setLevel(logging.NOTSET)


def test_a_level_is_set_shown_and_reset(main: Api, logger: logging.Logger) -> None:
    assert main.put("/_node/logging", '{"logger.cht_sync.of_a_test": "TRACE"}').json()["acknowledged"] is True
    assert logger.level == logging.DEBUG
    assert main.json("/_node/logging")["loggers"]["cht_sync.of_a_test"] == "DEBUG"
    main.put("/_node/logging", '{"logger.cht_sync.of_a_test": "warn"}')
    assert main.json("/_node/logging")["loggers"]["cht_sync.of_a_test"] == "WARN"
    assert main.put("/_node/logging/reset", "").json()["acknowledged"] is True
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"logger.cht_sync.of_a_test": "LOUD"}', "invalid level[LOUD] for logger[cht_sync.of_a_test]"),
        (
            '{"logger.cht_sync.of_a_test": "DEBUG", "log": "DEBUG"}',
            "unrecognized option [log]",
        ),
        ('{"logger.cht_sync.of_a_test": 1}', "invalid level[1] for logger[cht_sync.of_a_test]"),
        ("[]", "the body must be a JSON object"),
        ("{", "truncated"),
    ],
)
def test_a_level_that_is_none_is_refused_and_nothing_is_set(
    body: str, error: str, main: Api, logger: logging.Logger
) -> None:
    answer = main.put("/_node/logging", body)
    assert answer.status_code == 400
    assert error in answer.json()["error"]
    assert logger.level == logging.NOTSET


# Prometheus.


def test_the_metrics_parse_and_have_a_type_and_a_help_each(main: Api) -> None:
    answer = main.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    assert len({one.name for one in families}) == len(families)
    assert all(one.documentation and one.type in ("counter", "gauge", "histogram") for one in families)
    plugins = {
        (sample.labels["plugin"], sample.name): sample.value
        for family in families
        for sample in family.samples
        if "plugin" in sample.labels
    }
    assert plugins["filter_json_1", "cht_sync_plugin_events_in_total"] == 20
    assert plugins["numbers", "cht_sync_plugin_events_out_total"] == 20
    assert main.samples()["cht_sync_documents_out_total"] == 20


def test_every_figure_is_there_from_the_start(tmp_path: Path) -> None:
    with api(loaded(tmp_path)) as one:
        names = {name.removeprefix("cht_sync_") for name in one.samples()}
    assert {
        *("documents_in_total", "documents_out_total", "read_bytes_total", "sent_bytes_total"),
        *("batches_total", "retries_total", "reconnects_total", "dead_letters_total"),
        *("replaced_values_total", "pending_changes", "in_flight_documents", "seconds_behind"),
    } <= names


def test_names_with_quotes_and_line_ends_stay_what_they_are() -> None:
    name = 'a"b\\c\nd'
    with api(PipelineMetrics(name)) as one:
        families = text_string_to_metric_families(one.get("/metrics").text)
        labels = [sample.labels.get("pipeline") for family in families for sample in family.samples]
    assert set(labels) == {None, name}


# Secrets, ports, ends.


def test_no_answer_holds_a_secret(tmp_path: Path) -> None:
    config = """
    input { couchdb_changes { db => "medic" username => "ada" password => "s3cret" } }
    filter { mutate { add_field => { "key" => "s3cret" } } }
    output { http { url => "http://ada:s3cret@example.org/x" http_method => "post" } }
    """
    metrics = loaded(tmp_path, config)
    metrics.state = "running"
    metrics.inputs[0].lost("http://ada:s3cret@example.org does not answer")
    output_of(metrics).failed("https://ada:s3cret@example.org:3000/x answered 500", serious=False)
    metrics.reloads.failed("http://ada:s3cret@example.org is no address")
    paths = [*SHAPES, "/metrics", "/readyz", "/_node/stats/pipelines/main?vertices=true&pretty"]
    with api(metrics) as one:
        for path in paths:
            assert "s3cret" not in one.get(path).text, path
        assert "example.org" in one.get("/readyz").text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("9600", range(9600, 9601)), ("9600-9700", range(9600, 9701)), (" 1 - 2 ", range(1, 3))],
)
def test_a_port_or_a_range_is_read(text: str, expected: range) -> None:
    assert ports(text) == expected


@pytest.mark.parametrize("text", ["", "0", "65536", "9700-9600", "a", "9600-", "-9600", "1-2-3"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no port and no range of ports"):
        ports(text)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_port_that_is_taken_gives_way_to_the_next_of_the_range(taken: int) -> None:
    with serve_monitor(Registry(), ports=(taken, 0)) as monitor:
        assert monitor.port not in (taken, 0)
        assert Api(monitor.port, Registry()).json("/")["http_address"] == f"127.0.0.1:{monitor.port}"


def test_without_a_free_port_the_start_fails_and_says_what_to_do(taken: int) -> None:
    with (
        pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1, port {taken}: ") as failure,
        serve_monitor(Registry(), ports=(taken,)),
    ):
        pass
    assert "--api.http.port" in str(failure.value.hint)


def test_after_the_end_the_port_is_free_and_no_thread_is_left() -> None:
    before = threading.active_count()
    with api() as one:
        one.json("/")
        port = one.port
    with socket.create_server(("127.0.0.1", port)):
        pass
    eventually(lambda: threading.active_count() <= before)


def test_an_installation_keeps_its_id(tmp_path: Path) -> None:
    first = node_id(tmp_path / "data")
    assert node_id(tmp_path / "data") == first
    (tmp_path / "data" / "uuid").write_text("torn")
    assert node_id(tmp_path / "data") not in (first, "torn")


def test_a_handler_that_fails_is_an_error_500_and_nothing_more(
    main: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> str:
        raise RuntimeError("s3cret")

    monkeypatch.setattr("cht_sync.pipeline.monitor.prometheus.exposition", broken)
    answer = main.get("/metrics")
    assert answer.status_code == 500
    assert "s3cret" not in answer.text
    assert main.json("/healthz") == {"status": "ok"}


def test_clients_that_hang_keep_no_pipeline_from_its_work(tmp_path: Path) -> None:
    pipelines = load_all([PipelineSource("main", CONFIG.replace("20", "20000"))], {}, tmp_path)
    with api(pipelines[0].pipeline.metrics) as one, ThreadPoolExecutor(1) as pool:
        hanging = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(80)]
        try:
            for n, client in enumerate(hanging):
                # Half a request, a whole one whose answer is not read, nothing at all.
                client.sendall((b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n" * 50, b"")[n % 3])
            pool.submit(run_pipelines, pipelines, threading.Event()).result(PATIENCE)
        finally:
            for client in hanging:
                client.close()
    assert pipelines[0].pipeline.metrics.totals().out == 20_000


def test_the_command_line_serves_it_until_the_end(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "cht_sync", "pipeline", "run", "--path.data", str(tmp_path / "data")]
    command += ["-e", "input { stdin { } } output { null { } }", "--api.http.port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        asked = Api(port, Registry())

        def is_ready() -> bool:
            try:
                return asked.get("/readyz").status_code == 200
            except OSError:
                return False

        eventually(is_ready)
        assert process.stdin is not None
        process.stdin.write(b"a\nb\n")
        process.stdin.flush()
        eventually(lambda: asked.json("/_node/stats")["events"]["out"] == 2)
        assert asked.json("/")["id"] == (tmp_path / "data" / "uuid").read_text()
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


def test_a_process_without_the_api_listens_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def forbidden(*_args: object) -> None:
        raise AssertionError("listens")

    monkeypatch.setattr(server, "_listen", forbidden)
    arguments = ["pipeline", "run", "--path.data", str(tmp_path), "-e", CONFIG, "--api.enabled", "false"]
    command_line(arguments, standalone_mode=False)
    assert not (tmp_path / "uuid").exists()
