"""Whether the pipelines do their work, and why not: `/readyz` and `/_health_report`.

Statuses are Logstash's: green, unknown, yellow, red. A pipeline that waits for something that mends itself
is yellow; one that waits for an operator, and one that has failed, are red.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from cht_sync.pipeline.monitor.metrics import PipelineMetrics, Problem

DEGREES = ("green", "unknown", "yellow", "red")
"""From good to bad."""
DESCRIBED = {"green": "healthy", "unknown": "unknown", "yellow": "concerning", "red": "unhealthy"}
HELP = "https://www.elastic.co/guide/en/logstash/8.19/health-report-pipeline-status.html"
"""Where Logstash explains the states of pipelines."""

_STATES = {
    "loading": (
        "yellow",
        "pipeline is loading",
        "if pipeline does not come up quickly, you may need to check the logs to see if it is stalled",
        (1, "pipeline is loading"),
    ),
    "finished": (
        "yellow",
        "pipeline has finished running because its inputs have been closed and events have been processed",
        "if you expect this pipeline to run indefinitely, you will need to configure its inputs to continue "
        "receiving or fetching events",
        (10, "pipeline has finished running"),
    ),
    "terminated": (
        "red",
        "pipeline is not running, likely because it has encountered an error",
        "view logs to determine the cause of abnormal pipeline shutdown",
        (1, "the pipeline is not currently processing"),
    ),
}
"""Status, cause, action, severity and impact, as in Logstash."""


def unready(pipelines: Iterable[PipelineMetrics]) -> list[str]:
    """Return why not every pipeline is the writer of its source and reads; empty where all do."""
    pipelines = list(pipelines)
    if not pipelines:
        return ["no pipeline runs"]
    return [f"{one.id}: {reason}" for one in pipelines for reason in _reasons(one)]


def _reasons(pipeline: PipelineMetrics) -> Iterator[str]:
    if pipeline.state != "running":
        failure = pipeline.failure
        yield pipeline.state if failure is None else f"{pipeline.state}: {failure.text}"
        return
    problems = pipeline.problems()
    yield from (problem.text for problem in problems)
    for source in pipeline.inputs:
        if not source.claimed:
            yield f"is not the writer of {source.source or source.id} yet"
        elif not source.reading and not problems:
            yield f"{source.source or source.id} is not being read yet"


def status(pipelines: Iterable[PipelineMetrics]) -> str:
    """The status of all pipelines together: the worst one."""
    return _worst(_pipeline(one)["status"] for one in pipelines)


def report(pipelines: Iterable[PipelineMetrics]) -> dict[str, Any]:
    """The members of `/_health_report` beside the common ones."""
    indicators = {one.id: _pipeline(one) for one in pipelines}
    return {**_summary({"pipelines": _summary(indicators)}), "timestamp": iso(datetime.now(UTC).timestamp())}


def iso(at: float) -> str:
    """A Unix time as Logstash writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _worst(statuses: Iterable[str]) -> str:
    return max(statuses, key=DEGREES.index, default="green")


def _summary(indicators: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What Logstash says of several indicators: how many are in which state, the worst first."""
    named: dict[str, list[str]] = {}
    for name, one in indicators.items():
        named.setdefault(one["status"], []).append(name)
    parts = [
        f"{len(named[degree])} {'indicator is' if len(named[degree]) == 1 else 'indicators are'} "
        f"{DESCRIBED[degree]} (`{'`, `'.join(named[degree])}`)"
        for degree in reversed(DEGREES)
        if degree in named
    ]
    *others, last = parts or ["no indicators"]
    between = " and " if len(others) == 1 else ", and "
    symptom = ", ".join(others) + between + last if others else last
    return {"status": _worst(named), "symptom": symptom, "indicators": indicators}


def _pipeline(pipeline: PipelineMetrics) -> dict[str, Any]:
    details = {"status": {"state": pipeline.state.upper()}}
    findings = list(_findings(pipeline))
    degree = _worst(found["status"] for found in findings)
    symptom = f"The pipeline is {DESCRIBED[degree]}"
    if not findings:
        return {"status": degree, "symptom": symptom, "details": details}
    count = len(findings)
    diagnoses = "1 diagnosis is" if count == 1 else f"{count} diagnoses are"
    return {
        "status": degree,
        "symptom": f"{symptom}; 1 area is impacted and {diagnoses} available",
        "diagnosis": [found["diagnosis"] for found in findings],
        "impacts": [found["impact"] for found in findings],
        "details": details,
    }


def _findings(pipeline: PipelineMetrics) -> Iterator[dict[str, Any]]:
    state = pipeline.state
    if state in _STATES:
        degree, cause, action, impact = _STATES[state]
        if (failure := pipeline.failure) is not None:
            cause = f"pipeline is not running since {iso(failure.since_at)}: {failure.text}"
            action = "mend what the cause says; the pipeline is tried again by itself, or at once on SIGHUP"
        impact_id = "logstash:health:pipeline:status:impact:not_processing"
        yield _finding(
            degree, f"logstash:health:pipeline:status:diagnosis:{state}", cause, action, (impact_id, *impact)
        )
    if state == "running":
        for problem in pipeline.problems():
            yield _waits(problem)


def _waits(problem: Problem) -> dict[str, Any]:
    kind = "operator" if problem.serious else "recovers"
    since = iso(problem.since_at)
    return _finding(
        "red" if problem.serious else "yellow",
        f"cht-sync:health:pipeline:waiting:diagnosis:{kind}",
        f"since {since}: {problem.text}",
        "mend what the cause says; the pipeline then goes on by itself"
        if problem.serious
        else "nothing, if this ends soon: the pipeline tries again by itself",
        (
            "cht-sync:health:pipeline:waiting:impact:delayed",
            1 if problem.serious else 2,
            "changes wait and are not lost",
        ),
    )


def _finding(degree: str, id: str, cause: str, action: str, impact: tuple[str, int, str]) -> dict[str, Any]:
    impact_id, severity, description = impact
    return {
        "status": degree,
        "diagnosis": {"id": id, "cause": cause, "action": action, "help_url": HELP},
        "impact": {
            "id": impact_id,
            "severity": severity,
            "description": description,
            "impact_areas": ["pipeline_execution"],
        },
    }
