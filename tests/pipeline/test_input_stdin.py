"""The input stdin, over a file, and in a process whose standard input is a pipe."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import PATIENCE, json_lines, run_to_the_end, start_process
from waiting import eventually


def config(out: Path, settings: str = "") -> str:
    return f'input {{ stdin {{ {settings} }} }} output {{ file {{ path => "{out}" }} }}'


Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Run a pipeline over a standard input with this content; return what it wrote."""

    def run(data: bytes, settings: str = "") -> list[dict[str, Any]]:
        out = tmp_path / "out.jsonl"
        (tmp_path / "in").write_bytes(data)
        with (tmp_path / "in").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            run_to_the_end(tmp_path, config(out, settings))
        return json_lines(out)

    return run


def test_each_line_is_an_event_also_the_last_one_without_an_end(read: Read) -> None:
    events = read("a\nż\n\nlast".encode())
    assert [one["message"] for one in events] == ["a", "ż", "", "last"]
    assert events[0]["event"] == {"original": "a"}
    assert events[0]["host"] == {"hostname": socket.gethostname()}


def test_json_lines_are_events_and_the_original_is_the_line(read: Read) -> None:
    events = read(b'{"a":1}\nno json\n\n{"a":2,"host":"h"}\n', 'codec => json_lines tags => ["t"]')
    assert [one.get("a") for one in events] == [1, None, 2]
    assert [one["host"] for one in events[1:]] == [{"hostname": socket.gethostname()}, "h"]
    assert [one["tags"] for one in events] == [["t"], ["_jsonparsefailure", "t"], ["t"]]
    assert events[0]["event"] == {"original": '{"a":1}'}


def test_json_reads_lines_of_a_stream_too(read: Read) -> None:
    events = read(b'{"a":1}\n{"a":2}\n', "codec => json ecs_compatibility => disabled")
    assert [one["a"] for one in events] == [1, 2]
    assert {one["host"] for one in events} == {socket.gethostname()}


def test_a_line_may_be_larger_than_what_is_read_at_once(read: Read) -> None:
    large = "x" * (3 << 20)
    assert [one["message"] for one in read(f"{large}\nb\n".encode())] == [large, "b"]


def test_an_empty_standard_input_ends_the_pipeline_in_order(read: Read) -> None:
    assert read(b"") == []


def test_what_has_arrived_is_delivered_at_once_and_a_signal_ends_the_waiting(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    process = start_process(tmp_path, config(out), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"first\nhal")
    process.stdin.flush()
    eventually(lambda: [one["message"] for one in json_lines(out)] == ["first"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    process.stdin.close()
