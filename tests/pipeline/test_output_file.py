"""The output file: where events go, what a full disk and a crash do."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import json_lines

from cht_sync import backoff
from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext


def output(settings: str) -> Output:
    pipeline = load(f"output {{ file {{ {settings} }} }}", {}, PluginContext("main", Path()))
    (built,) = pipeline.outputs
    return built


def write(settings: str, *events: dict[str, Any], stop: threading.Event | None = None) -> bool:
    return output(settings).write(Batch([Event(fields) for fields in events]), stop or threading.Event())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: iter(lambda: 0.01, None))


def failing(monkeypatch: pytest.MonkeyPatch, name: str, failures: list[Exception]) -> None:
    """Make a function of the operating system fail once with each of the errors."""
    real: Callable[..., Any] = getattr(os, name)

    def call(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return real(*arguments, **named)

    monkeypatch.setattr(os, name, call)


def test_each_event_is_a_line_of_json_and_batches_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out.jsonl"
    assert write(f'path => "{path}"', {"n": 1}, {"n": 2})
    assert write(f'path => "{path}"', {"n": 3})
    assert [one["n"] for one in json_lines(path)] == [1, 2, 3]


def test_the_path_depends_on_the_event(tmp_path: Path) -> None:
    write(f'path => "{tmp_path}/%{{db}}/%{{kind}}.jsonl"', {"db": "a", "kind": "x"}, {"db": "b", "kind": "y"})
    assert len(json_lines(tmp_path / "a" / "x.jsonl")) == len(json_lines(tmp_path / "b" / "y.jsonl")) == 1


@pytest.mark.parametrize("name", ["../../outside", "\0", "x" * 300, "file/below"])
def test_an_event_whose_path_cannot_be_goes_to_the_file_for_failures(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    assert write(f'path => "{root}/%{{name}}"', {"name": name})
    assert [one["name"] for one in json_lines(root / "_filepath_failures")] == [name]
    assert not (tmp_path / "outside").exists()


def test_with_create_if_deleted_off_a_missing_file_is_not_made(tmp_path: Path) -> None:
    settings = f'path => "{tmp_path}/out" create_if_deleted => false filename_failure => "lost"'
    write(settings, {"n": 1})
    (tmp_path / "out").touch()
    write(settings, {"n": 2})
    assert [one["n"] for one in json_lines(tmp_path / "lost")] == [1]
    assert [one["n"] for one in json_lines(tmp_path / "out")] == [2]


def test_overwrite_keeps_only_the_last_event(tmp_path: Path) -> None:
    settings = (
        f'path => "{tmp_path}/out" write_behavior => "overwrite" codec => line {{ format => "%{{n}}" }}'
    )
    write(settings, {"n": 1000}, {"n": 22})
    write(settings, {"n": 3})
    assert (tmp_path / "out").read_text() == "3\n"


def test_modes_are_those_asked_for(tmp_path: Path) -> None:
    write(f'path => "{tmp_path}/a/b" dir_mode => 0750 file_mode => 0640', {})
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_makes_it_wait_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out"
    write(f'path => "{path}"', {"n": 1})
    real_write = os.write
    states: list[bytes] = []

    def half(descriptor: int, data: Any) -> int:
        if len(states) < 2:
            real_write(descriptor, bytes(data)[:5])
            states.append(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", half)
    with caplog.at_level(logging.ERROR):
        assert write(f'path => "{path}"', {"n": 2}, {"n": 3})
    monkeypatch.undo()
    assert path.read_bytes().count(b"\n") == 3
    assert [one["n"] for one in json_lines(path)] == [1, 2, 3]
    assert "No space left on device" in caplog.text


def test_what_the_disk_does_not_confirm_is_written_again_and_not_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", [OSError(errno.EIO, "Input/output error")])
    assert write(f'path => "{tmp_path}/out"', {"n": 1})
    assert [one["n"] for one in json_lines(tmp_path / "out")] == [1]


def test_a_stop_ends_the_waiting_without_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def refuse(*_arguments: Any, **_named: Any) -> Any:
        stop.set()
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert not write(f'path => "{tmp_path}/out"', {"n": 1}, stop=stop)


def test_a_disk_that_takes_it_gets_the_whole_batch_after_a_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert write(f'path => "{tmp_path}/%{{n}}"', *[{"n": n} for n in range(5)], stop=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == list("01234")


def test_half_a_line_that_a_crash_left_does_not_spoil_the_next_event(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b'{"n":1}\n{"n":')
    write(f'path => "{tmp_path}/out"', {"n": 2})
    assert [one["n"] for one in json_lines(tmp_path / "out")] == [1, 2]


def test_a_pipe_can_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert write(f'path => "{path}" codec => line {{ format => "%{{n}}" }}', {"n": 1})
        assert os.read(descriptor, 100) == b"1\n"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("", 'needs the option "path"'),
        ('path => "/%{x}/y"', "the first folder of the path must not depend on the event"),
        ('path => "/x" gzip => true', "a crash would spoil the archive"),
        ('path => "/x" write_behavior => "both"', "append, overwrite"),
    ],
)
def test_what_cannot_work_is_refused_at_start(settings: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        output(settings)


@pytest.mark.parametrize("name", ["../../outside", "x" * 300])
def test_many_events_of_impossible_paths_are_a_line_and_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    one = output(f'path => "{tmp_path}/%{{name}}.jsonl"')
    for number in range(100):
        # Each has a path of its own.
        assert one.write(Batch([Event({"name": f"{name}{number:03}"})]), threading.Event())
    one.close()
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("(events: 99)")
