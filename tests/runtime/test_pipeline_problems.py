"""What the status says of pipelines that have failed."""

from __future__ import annotations

import os
from pathlib import Path

from free_ports import free_port

from cht_sync.environments import Environment
from cht_sync.pipeline.monitor.metrics import OutputMetrics, PipelineMetrics, Registry
from cht_sync.pipeline.monitor.server import serve_monitor
from cht_sync.process import ProcessId
from cht_sync.runtime.doctor import pipelines
from cht_sync.runtime.doctor.examine import run
from cht_sync.runtime.doctor.finding import Result
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.runtime.pipelines import pipeline_problems
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.runtime.status import gather
from cht_sync.settings import load

REASON = "/data/dead_letter_queue/medic.jsonl has 1073741824 bytes of dead letters and takes no more"


def failed() -> Registry:
    registry = Registry()
    registry.add(PipelineMetrics("medic-sentinel", state="running"))
    registry.add(PipelineMetrics("medic", state="running"))
    registry.pipelines()[0].failed(REASON)
    return registry


def test_a_pipeline_that_has_failed_is_named_with_its_reason() -> None:
    with serve_monitor(failed(), ports=(0,)) as monitor:
        (said,) = pipeline_problems(f"127.0.0.1:{monitor.port}")
    assert said == f"pipeline medic has failed and is tried again by itself: {REASON}"


def test_a_pipeline_that_runs_and_cannot_deliver_is_a_warning_of_the_doctor(tmp_path: Path) -> None:
    registry = Registry()
    output = OutputMetrics("output", "http", "to_postgrest")
    output.problem.set("http://127.0.0.1:3000 answers 503", serious=False)
    registry.add(PipelineMetrics("medic-sentinel", state="running"))
    medic = PipelineMetrics("medic", state="running")
    medic.outputs.append(output)
    registry.add(medic)
    with serve_monitor(registry, ports=(0,)) as monitor:
        place = f"127.0.0.1:{monitor.port}"
        states = {"logstash": {"state": "running", "address": place}}
        settings = load(Environment.LOCAL, home=tmp_path, environ={}, read_file=False)
        situation = Situation(
            Environment.LOCAL, tmp_path, "embedded", settings, services=["logstash"], states=states
        )
        checks = [one for one in pipelines.CHECKS if one.name == "engine"]
        (hindered,) = run(checks, situation)
        output.problem.clear()
        (well,) = run(checks, situation)
        assert pipeline_problems(place) == []
    assert (hindered.result, hindered.message) == (
        Result.WARNING,
        "pipeline medic: http://127.0.0.1:3000 answers 503",
    )
    assert (well.result, well.message) == (Result.OK, "all of them run")


def test_an_engine_that_does_not_answer_is_said() -> None:
    port = free_port()
    assert pipeline_problems(f"127.0.0.1:{port}") == [
        f"logstash: the monitoring API at 127.0.0.1:{port} does not answer (ConnectionError)"
    ]


def test_the_status_of_an_environment_has_it_among_its_problems(tmp_path: Path) -> None:
    own = ProcessId.of(os.getpid())
    with serve_monitor(failed(), ports=(0,)) as monitor:
        logstash = ServiceState("logstash", "running", port=monitor.port, pid=own.pid, started=own.started)
        state = EnvironmentState(Environment.LOCAL, "embedded", own.pid, own.started, services=[logstash])
        settings = load(Environment.LOCAL, home=tmp_path, environ={"POSTGRES_PORT": "9", "COUCHDB_PORT": "9"})
        found = gather(state, settings)
    assert [one for one in found["problems"] if one.startswith("pipeline medic has failed")]
