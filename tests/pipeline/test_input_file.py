"""The input file: which lines it gives, and what a crash, a stop and a broken file do."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engine_runs import PATIENCE, Running, json_lines, run_to_the_end, start_process
from waiting import eventually

from cht_sync.errors import ConfigError, SourceUnavailable
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Batch, Input
from cht_sync.pipeline.plugins import PluginContext

ONCE = 'mode => "read" exit_after_read => true file_completed_action => "log" '


def settings(folder: Path, more: str = "") -> str:
    return f'path => "{folder}/in/*" {ONCE} file_completed_log_path => "{folder}/done" {more}'


def made(folder: Path, text: str) -> Input:
    (source,) = load(f"input {{ file {{ {text} }} }}", {}, PluginContext("main", folder / "data")).inputs
    return source


def started(folder: Path, text: str) -> Input:
    source = made(folder, text)
    source.start(None, threading.Event())
    return source


def take(source: Input) -> Batch:
    batch = source.read(threading.Event(), 0)
    assert batch is not None
    return batch


def messages(batch: Batch) -> list[Any]:
    return [event.get("message") for event in batch.events]


def all_messages(source: Input) -> list[Any]:
    """Read to the end, acknowledging everything."""
    found: list[Any] = []
    while (batch := source.read(threading.Event(), 0)) is not None:
        found += messages(batch)
        batch.ack()
    source.close()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


def put(folder: Path, name: str, text: str, *, age: int = 0) -> Path:
    path = folder / "in" / name
    path.write_text(text)
    moment = 1_700_000_000 - age
    os.utime(path, (moment, moment))
    return path


def test_the_lines_of_all_files_come_in_order_of_age_with_path_and_host(folder: Path) -> None:
    put(folder, "b", "3\n4", age=0)
    put(folder, "a", "1\n2\n", age=10)
    source = started(folder, settings(folder))
    (event, *_) = take(source).events
    assert {name: event.get(name) for name in ("message", "log", "host")} == {
        "message": "1",
        "log": {"file": {"path": f"{folder}/in/a"}},
        "host": {"name": socket.gethostname()},
    }
    assert event.metadata == {"path": f"{folder}/in/a", "host": socket.gethostname()}
    assert all_messages(started(folder, settings(folder))) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('file_sort_direction => "desc"', ["new", "old"]),
        ('file_sort_by => "path"', ["new", "old"]),
        ('file_sort_by => "path" file_sort_direction => "desc"', ["old", "new"]),
        ('exclude => "*.old"', ["new"]),
        ('exclude => ["{x,y}.old", "*.none"]', ["new"]),
        ('ignore_older => "3 days"', []),
    ],
)
def test_files_are_chosen_and_sorted_as_asked(folder: Path, more: str, expected: list[str]) -> None:
    put(folder, "a.new", "new\n")
    put(folder, "x.old", "old\n", age=100)
    assert all_messages(started(folder, settings(folder, more))) == expected


def test_patterns_are_those_of_ruby(folder: Path) -> None:
    (folder / "in" / "deep").mkdir()
    for name in ("a.json", "b.txt", "c.log"):
        put(folder, f"deep/{name}", f"{name}\n")
    text = f'path => ["{folder}/**/*.{{json,txt}}"] {ONCE} file_completed_log_path => "{folder}/done"'
    assert sorted(all_messages(started(folder, text))) == ["a.json", "b.txt"]


def test_lines_of_json_are_events_and_names_can_be_the_old_ones(folder: Path) -> None:
    put(folder, "a", '{"n":1}\n\n{"n":2,"host":"mine"}\nno\n')
    source = started(folder, settings(folder, "codec => json_lines ecs_compatibility => disabled"))
    events = take(source).events
    assert [event.get("n") for event in events] == [1, 2, None]
    assert [event.get("host") for event in events] == [socket.gethostname(), "mine", socket.gethostname()]
    assert {event.get("path") for event in events} == {f"{folder}/in/a"}
    assert events[2].get("tags") == ["_jsonparsefailure"]


def test_a_delimiter_of_several_characters_ends_lines(folder: Path) -> None:
    put(folder, "a", "1||2|3||")
    text = settings(folder, 'delimiter => "||" file_chunk_size => 2')
    assert all_messages(started(folder, text)) == ["1", "2|3"]


def test_the_position_moves_only_with_the_acknowledgement(folder: Path) -> None:
    put(folder, "a", "".join(f"{n}\n" for n in range(1500)))
    source = started(folder, settings(folder))
    first, _second = take(source), take(source)
    assert len(first.events) == 1000
    first.ack()
    assert all_messages(started(folder, settings(folder))) == [str(n) for n in range(1000, 1500)]
    assert all_messages(started(folder, settings(folder))) == []


def test_an_acknowledgement_never_moves_the_position_past_an_earlier_batch(folder: Path) -> None:
    put(folder, "a", "".join(f"{n}\n" for n in range(1500)))
    source = started(folder, settings(folder))
    first, second = take(source), take(source)
    second.ack()
    assert len(all_messages(started(folder, settings(folder)))) == 1500
    first.ack()
    assert all_messages(started(folder, settings(folder))) == []


def test_the_positions_are_kept_as_logstash_does_and_its_own_are_read(folder: Path) -> None:
    path = put(folder, "a", "1\n2\n3\n")
    more = f'sincedb_path => "{folder}/since"'
    status = path.stat()
    key = f"{status.st_ino} {os.major(status.st_dev)} {os.minor(status.st_dev)}"
    (folder / "since").write_text(f"{key} 2 1700000000.5 {path}\n")
    assert all_messages(started(folder, settings(folder, more))) == ["2", "3"]
    fields = (folder / "since").read_text().split(" ")
    assert " ".join(fields[:4]) == f"{key} 6"
    assert fields[5] == f"{path}\n"
    (folder / "since").write_text(f"{key} 4\n")
    assert all_messages(started(folder, settings(folder, more))) == ["3"]


def test_dev_null_keeps_no_position_and_stays_what_it_is(folder: Path) -> None:
    put(folder, "a", "1\n")
    more = 'sincedb_path => "/dev/null"'
    for _ in range(2):
        assert all_messages(started(folder, settings(folder, more))) == ["1"]
    assert Path("/dev/null").is_char_device()


def test_positions_of_files_that_are_gone_are_forgotten_in_time_and_no_others(folder: Path) -> None:
    more = f'sincedb_path => "{folder}/since"'
    path = put(folder, "a", "1\n")
    status = path.stat()
    here = f"{status.st_ino} {os.major(status.st_dev)} {os.minor(status.st_dev)} 0 5.0 {path}\n"
    (folder / "since").write_text(f"1 1 1 7 5.0 /gone/long/ago\n2 1 1 7 {time.time()} /gone/today\n{here}")
    assert all_messages(started(folder, settings(folder, more))) == ["1"]
    kept = {line.split(" ")[5] for line in (folder / "since").read_text().splitlines()}
    assert kept == {"/gone/today", str(path)}


@pytest.mark.parametrize("text", ["9\n", "longer than before\n"])
def test_another_file_in_the_place_of_one_that_was_read_is_read(folder: Path, text: str) -> None:
    put(folder, "a", "1\n2\n")
    assert all_messages(started(folder, settings(folder))) == ["1", "2"]
    put(folder, "a.new", text).rename(folder / "in" / "a")
    assert all_messages(started(folder, settings(folder))) == [text.strip()]


def test_a_file_that_became_shorter_is_read_from_its_start(folder: Path) -> None:
    path = put(folder, "a", "1\n2\n")
    assert all_messages(started(folder, settings(folder))) == ["1", "2"]
    path.write_text("9\n")
    assert all_messages(started(folder, settings(folder))) == ["9"]


def test_a_file_is_logged_and_deleted_only_when_all_of_it_is_delivered(folder: Path) -> None:
    path = put(folder, "a", "1\n")
    text = settings(folder).replace('=> "log"', '=> "log_and_delete"')
    source = started(folder, text)
    batch = take(source)
    assert path.exists()
    assert (folder / "done").read_text() == ""
    batch.ack()
    assert (folder / "done").read_text() == f"{path}\n"
    assert not path.exists()
    put(folder, "a", "2\n")
    assert all_messages(started(folder, text)) == ["2"]


def test_a_file_whose_deletion_a_crash_prevented_is_deleted_by_the_next_run(folder: Path) -> None:
    path = put(folder, "a", "1\n")
    assert all_messages(started(folder, settings(folder))) == ["1"]
    text = f'path => "{folder}/in/*" mode => "read" exit_after_read => true'
    assert all_messages(started(folder, text)) == []
    assert not path.exists()


def test_a_file_that_grew_while_it_was_delivered_is_not_deleted(folder: Path) -> None:
    path = put(folder, "a", "1\n")
    source = started(folder, f'path => "{folder}/in/*" mode => "read" discover_interval => 0')
    batch = take(source)
    with path.open("a") as file:
        file.write("2\n")
    batch.ack()
    assert path.exists()
    batch = take(source)
    assert messages(batch) == ["2"]
    batch.ack()
    assert not path.exists()


def test_without_exit_after_read_new_files_are_found(folder: Path) -> None:
    put(folder, "a", "1\n")
    out = folder / "out.jsonl"
    running = Running(
        folder,
        main=f"""input {{ file {{ path => "{folder}/in/*" mode => read stat_interval => "10 ms"
        discover_interval => 1 }} }} output {{ file {{ path => "{out}" }} }}""",
    )
    eventually(lambda: [one["message"] for one in json_lines(out)] == ["1"])
    put(folder, "b", "2\n")
    eventually(lambda: [one["message"] for one in json_lines(out)] == ["1", "2"])
    eventually(lambda: list((folder / "in").iterdir()) == [])
    running.stop()


def test_archives_are_read(folder: Path) -> None:
    path = folder / "in" / "a.gz"
    path.write_bytes(gzip.compress(b"1\n2\n") + gzip.compress(b"3\n"))
    assert all_messages(started(folder, settings(folder))) == ["1", "2", "3"]
    assert all_messages(started(folder, settings(folder))) == []


def test_a_broken_archive_is_a_dead_letter_and_stays(folder: Path) -> None:
    lines = "".join(f"{n * n}\n" for n in range(5_000)).encode()
    path = folder / "in" / "a.gz"
    path.write_bytes(gzip.compress(lines)[:-100])
    out = folder / "out.jsonl"
    text = f'path => "{folder}/in/*" mode => "read" exit_after_read => true'
    for _ in range(2):
        run_to_the_end(folder, f'input {{ file {{ {text} }} }} output {{ file {{ path => "{out}" }} }}')
        assert path.exists()
    assert json_lines(out)[1]["message"] == "1"
    letters = json_lines(folder / "data" / "dead_letter_queue" / "main.jsonl")
    assert [letter["code"] for letter in letters] == ["broken_archive"] * 2
    assert str(path) in letters[0]["reason"]


def test_an_archive_that_is_not_whole_can_be_left_alone(folder: Path) -> None:
    (folder / "in" / "a.gz").write_bytes(gzip.compress(b"1\n")[:-4])
    put(folder, "b", "2\n")
    source = started(folder, settings(folder, "check_archive_validity => true"))
    assert messages(take(source)) == ["2"]
    with pytest.raises(SourceUnavailable, match=r"a\.gz: it is no whole archive"):
        source.read(threading.Event(), 0)


def test_a_file_that_cannot_be_read_is_no_silent_loss(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "a", "1\n", age=10)
    put(folder, "b", "2\n")
    real_open = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    source = started(folder, settings(folder))
    assert messages(take(source)) == ["2"]
    with pytest.raises(SourceUnavailable, match=r"1 files cannot be read, such as .*a: Permission denied"):
        source.read(threading.Event(), 0)
    assert "Permission denied" in caplog.text


def test_a_position_that_cannot_be_kept_is_said_and_nothing_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "a", "1\n")
    batch = take(started(folder, settings(folder)))

    def refuse(*_arguments: Any, **_named: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cht_sync.pipeline.replay.sincedb.write_atomically", refuse)
    with pytest.raises(SourceUnavailable, match=r"a is delivered, but that cannot be kept: .*No space"):
        batch.ack()
    monkeypatch.undo()
    assert all_messages(started(folder, settings(folder))) == ["1"]


def test_documents_of_many_megabytes_pass_in_bounded_batches(folder: Path) -> None:
    large = "x" * (20 << 20)
    put(folder, "a", f"{large}\n{large}\nsmall\n")
    source = started(folder, settings(folder, "codec => plain { ecs_compatibility => disabled }"))
    sizes = [len(messages(take(source))) for _ in range(3)]
    assert sizes == [1, 1, 1]


def test_kill_at_any_moment_loses_no_line(folder: Path) -> None:
    wanted = {str(n) for n in range(30_000)}
    put(folder, "a", "".join(f"{n}\n" for n in range(30_000)))
    out = folder / "out.jsonl"
    config = f"""input {{ file {{ {settings(folder)} }} }}
        output {{ file {{ path => "{out}" }} }}"""
    kills = 0
    for batches in (1, 3):
        process = start_process(folder, config)
        eventually(lambda: process.poll() is not None or len(json_lines(out)) > 5000 * batches)  # noqa: B023
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(PATIENCE)
    assert kills > 0
    run_to_the_end(folder, config)
    got = [one["message"] for one in json_lines(out)]
    assert set(got) == wanted
    assert len(got) <= len(wanted) + 1000 * kills


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('path => "/x"', 'mode => "tail" is not supported'),
        ('path => "/x" mode => "tail"', "send what is being written through the input stdin"),
        ('path => "x" mode => "read"', "'x' must be absolute"),
        ('path => "/x" mode => "read" file_completed_action => "log"', "needs file_completed_log_path"),
        ('path => "/x" mode => "read" sincedb_path => "/tmp"', "is a folder"),
        ('path => "/x" mode => "read" stat_interval => "1 fortnight"', "no duration"),
        ('path => "/x" mode => "read" delimiter => ""', "must not be empty"),
    ],
)
def test_what_cannot_work_is_refused_at_start(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        made(tmp_path, text)
    assert caught.value.line == 1
