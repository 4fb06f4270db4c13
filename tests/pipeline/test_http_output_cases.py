"""The recorded cases of logstash-output-http, against a real HTTP server.

What the original drops is a dead letter here. The waits between tries are cut to nothing, as they were in the
recordings.
"""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from http_server import Asked, http_server
from logstash_cases import Case, cases, event_of
from printed import plugin

from cht_sync import backoff
from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.config.tree import Plugin, Setting
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import PluginContext

REFUSED_AT_START = {
    "json_batch: url is not interpolated, so a reference in it is an error",
    "bad field reference in the url: error, dropped",
}
"""Where the original drops every event."""
OUR_OWN_WAY: dict[str, dict[str, Any]] = {
    "302 on GET with follow_redirects false: followed all the same": {
        "requests": [0],
        "outcome": "dropped",
    },
    "one of three events is retried: it goes after the others": {"requests": [0, 1, 3, 2]},
    "json_batch: 400 drops the whole batch": {"each_alone": True},
}
"""Which of the recorded requests are made instead, in this order, and what becomes of the event;
`each_alone`: after the array each of its events is asked for alone, so that one that is refused takes no
others along.
"""
LEFT_OUT = {"host", "connection", "user-agent", "accept-encoding", "content-length"}


@cases("http_output.json")
def test_the_output_does_what_logstash_s_does(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: itertools.repeat(0.0))
    answers = case.get("server_responses") or [{"status": 200}]
    with http_server() as server:
        port = server.port if case.get("server") != "nothing listens" else free_port()
        case = json.loads(json.dumps(case).replace("SERVER", f"127.0.0.1:{port}").replace("PORT", str(port)))
        server.answers = json.loads(json.dumps(answers).replace("SERVER", f"127.0.0.1:{port}"))
        ours = OUR_OWN_WAY.get(case["name"], {})
        settings = {name: Setting(item, Place("", 1, 1)) for name, item in case["options"].items()}
        text = f"output {{ {plugin(Plugin('http', settings, Place('', 1, 1)))} }}"
        context = PluginContext("main", tmp_path)
        if case["expected_outcome"] == "refused at start" or case["name"] in REFUSED_AT_START:
            with pytest.raises(ConfigError):
                load(text, {}, context, support_escapes=True)
            assert server.requests == []
            return
        pipeline = load(text, {}, context, support_escapes=True)
        (output,) = pipeline.outputs
        assert output.write(Batch([event_of(event) for event in case["events"]]), threading.Event())
        output.close()
        expected = case["expected_requests"]
        expected = [expected[number] for number in ours.get("requests", range(len(expected)))]
        if ours.get("each_alone"):
            expected += [{**expected[0], "body_json": [event]} for event in expected[0]["body_json"]]
        assert [_shown(request) for request in server.requests] == [_expected(one) for one in expected]
    outcomes = ours.get("outcome", case["expected_outcome"])
    outcomes = [outcomes] * len(case["events"]) if isinstance(outcomes, str) else outcomes
    dropped = [event["n"] for event, end in zip(case["events"], outcomes, strict=True) if end == "dropped"]
    assert [json.loads(letter["document"])["n"] for letter in _letters(tmp_path)] == dropped
    retries = pipeline.metrics.of(output, OutputMetrics).retries
    if "dropped" not in outcomes:
        assert (retries > 0) == ("retried" in outcomes)


def _letters(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dead_letter_queue" / "main.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _shown(request: Asked) -> tuple[Any, ...]:
    headers = sorted((name.lower(), text) for name, text in request.headers if name.lower() not in LEFT_OUT)
    body = request.body
    if ("content-encoding", "gzip") in headers:
        body = gzip.decompress(body)
    return request.method, request.target, headers, _content(body, headers)


def _expected(request: dict[str, Any]) -> tuple[Any, ...]:
    headers = sorted((name.lower(), text) for name, text in request["headers"].items())
    body = json.dumps(request["body_json"]).encode() if "body_json" in request else request["body"].encode()
    target = request["url"].split("/", 3)[3]
    return request["method"], f"/{target}", headers, _content(body, headers)


def _content(body: bytes, headers: list[tuple[str, str]]) -> Any:
    if any("urlencoded" in text for _, text in headers):
        return sorted(body.split(b"&"))
    try:
        return json.loads(body)
    except ValueError:
        return body
