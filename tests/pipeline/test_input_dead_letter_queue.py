"""The input dead_letter_queue: what became of letters, read again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from engine_runs import Running, json_lines
from waiting import eventually

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Batch, Input, Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.file import letters_in, rewrite
from cht_sync.pipeline.dead_letters.line import Origin, RefusedEvent, whole_event
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext


def letter(document: str | None, number: int = 0) -> Rejected:
    return Rejected(f"id-{number}", "1-a", "7-x", "HTTP 400", "no room", document)


def made(folder: Path, more: str = "", pipeline_id: str = "replay") -> Input:
    text = f'path => "{folder}/dead_letter_queue" pipeline_id => "medic" {more}'
    (source,) = load(
        f"input {{ dead_letter_queue {{ {text} }} }}", {}, PluginContext(pipeline_id, folder)
    ).inputs
    return source


def started(folder: Path, more: str = "") -> Input:
    source = made(folder, more)
    source.start(None, threading.Event())
    return source


def take(source: Input) -> Batch:
    batch = source.read(threading.Event(), 0)
    assert batch is not None
    return batch


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetterFile:
    file = DeadLetterFile(tmp_path, "medic")
    file.append([letter('{"_id":"a","@timestamp":"2020-01-02T03:04:05.678Z","n":1.50}', 1)])
    return file


def test_an_event_comes_back_with_what_is_known_of_its_refusal(
    tmp_path: Path, letters: DeadLetterFile
) -> None:
    (event,) = take(started(tmp_path, "add_field => { again => yes }")).events
    assert (event.get("_id"), event.get("n"), event.get("again")) == ("a", 1.5, "yes")
    assert str(event.get("@timestamp")) == "2020-01-02T03:04:05.678Z"
    about = event.metadata["dead_letter_queue"]
    assert about.pop("entry_time").endswith("+00:00")
    assert about.pop("id").isalnum()
    assert about == {
        "plugin_type": "output",
        "plugin_id": "medic",
        "pipeline": "medic",
        "address": None,
        "database": None,
        "status": None,
        "response": None,
        "reason": "no room",
        "code": "HTTP 400",
        "document_id": "id-1",
        "revision": "1-a",
        "sequence": "7-x",
    }


@pytest.mark.parametrize(
    ("document", "messages"),
    [("{no", ["{no"]), ("5", ["5"]), ('[{"message":"a"},{"message":"b"}]', ["a", "b"]), (None, [None])],
)
def test_whatever_was_refused_is_an_event_or_several(
    tmp_path: Path, document: str | None, messages: list[str | None]
) -> None:
    DeadLetterFile(tmp_path, "medic").append([letter(document)])
    assert [event.get("message") for event in take(started(tmp_path)).events] == messages


def test_the_position_moves_with_the_acknowledgement(tmp_path: Path, letters: DeadLetterFile) -> None:
    assert len(take(started(tmp_path)).events) == 1
    source = started(tmp_path)
    take(source).ack()
    letters.append([letter('{"_id":"b"}')])
    assert [event.get("_id") for event in take(source).events] == ["b"]
    assert [event.get("_id") for event in take(started(tmp_path)).events] == ["b"]


def test_without_commit_offsets_every_run_begins_at_the_first_letter(
    tmp_path: Path, letters: DeadLetterFile
) -> None:
    for _ in range(2):
        batch = take(started(tmp_path, "commit_offsets => false"))
        assert len(batch.events) == 1
        batch.ack()
    assert not (tmp_path / "plugins").exists()


def test_older_letters_can_be_left_out(tmp_path: Path, letters: DeadLetterFile) -> None:
    assert len(take(started(tmp_path, 'start_timestamp => "2020-01-01T00:00:00Z"')).events) == 1
    assert take(started(tmp_path, 'start_timestamp => "2999-01-01T00:00:00Z"')).events == []


def test_a_letter_that_is_being_written_is_waited_for(tmp_path: Path, letters: DeadLetterFile) -> None:
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    with path.open("a") as file:
        file.write('{"at":"2020')
    source = started(tmp_path)
    assert len(take(source).events) == 1
    assert take(source).events == []
    with path.open("a") as file:
        file.write('-01-01T00:00:00Z","document":"{}"}\n')
    assert len(take(source).events) == 1


def test_half_a_letter_that_a_crash_left_is_a_letter_of_its_own(
    tmp_path: Path, letters: DeadLetterFile
) -> None:
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    with path.open("a") as file:
        file.write('{"at":"2020')
    letters.append([letter('{"_id":"b"}')])
    batch = take(started(tmp_path))
    assert [event.get("_id") for event in batch.events] == ["a", "b"]
    assert [(one.code, one.document) for one in batch.rejected] == [("malformed", '{"at":"2020')]


def test_many_letters_come_in_batches_and_none_is_left_out(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path, "medic")
    file.append([letter(f'{{"n":{n}}}') for n in range(600)])
    source = started(tmp_path)
    found = []
    while (batch := take(source)).events:
        found += [event.get("n") for event in batch.events]
        batch.ack()
    assert found == list(range(600))


def test_letters_that_come_later_are_delivered_by_a_running_pipeline(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    file = DeadLetterFile(folder, "medic")
    file.append([letter('{"n":1}')])
    out = tmp_path / "out.jsonl"
    running = Running(
        tmp_path,
        replay=f"""
        input {{ dead_letter_queue {{ path => "{folder}/dead_letter_queue" pipeline_id => medic }} }}
        output {{ file {{ path => "{out}" }} }}""",
    )
    eventually(lambda: [one["n"] for one in json_lines(out)] == [1])
    file.append([letter('{"n":2}')])
    eventually(lambda: [one["n"] for one in json_lines(out)] == [1, 2])
    running.stop()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("clean_consumed => true", "true is not supported"),
        ('start_timestamp => "yesterday"', "not an ISO 8601 time"),
        ('sincedb_path => "/tmp"', "is a folder"),
        ("codec => json", "leave it out"),
    ],
)
def test_what_cannot_work_is_refused_at_start(
    tmp_path: Path, letters: DeadLetterFile, more: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        made(tmp_path, more)


def test_a_pipeline_never_reads_its_own_letters(tmp_path: Path, letters: DeadLetterFile) -> None:
    with pytest.raises(ConfigError, match=r"would read its own dead letters.*another pipeline\.id"):
        made(tmp_path, pipeline_id="medic")


def test_letters_say_what_logstash_says_and_more(tmp_path: Path) -> None:
    origin = Origin("medic", "output", "http", "there", "https://there/x", "medic")
    event = Event({"n": 1}, {"_id": "a", "seq": "7-x", "target": "x"})
    refused = RefusedEvent("a", "1-a", "7-x", "HTTP 400", "no", whole_event(event), 400, "no, and why")
    DeadLetterFile(tmp_path, "medic", origin=origin).append([refused])
    (event,) = take(started(tmp_path)).events
    assert event.get("n") == 1
    assert event.get("[@metadata][target]") == "x"
    about = event.metadata["dead_letter_queue"]
    assert (about["plugin_type"], about["plugin_id"], about["reason"]) == ("http", "there", "no")
    assert (about["address"], about["database"], about["status"]) == ("https://there/x", "medic", 400)
    assert (about["response"], about["pipeline"], about["id"].isalnum()) == ("no, and why", "medic", True)


def test_lines_of_the_version_before_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    path.parent.mkdir()
    line = '{"at":"2026-11-01T00:00:00+00:00","code":"x","reason":"y","document":"{\\"n\\":%d}"}\n'
    path.write_text(line % 1 + line % 2 + line % 3)
    source = started(tmp_path, "batch_size => 2")
    batch = take(source)
    assert [event.get("n") for event in batch.events] == [1, 2]
    batch.ack()
    DeadLetterFile(tmp_path, "medic").append([letter('{"n":4}')])
    first = next(letters_in(path, "medic"))
    rewrite(path, {first.id: None})
    assert [event.get("n") for event in take(started(tmp_path)).events] == [3, 4]


def test_the_position_of_the_version_before_is_understood(tmp_path: Path, letters: DeadLetterFile) -> None:
    path = tmp_path / "dead_letter_queue" / "medic.jsonl"
    status = path.stat()
    kept = tmp_path / "kept"
    device = f"{os.major(status.st_dev)} {os.minor(status.st_dev)}"
    kept.write_text(f"{status.st_ino} {device} {status.st_size} 1700000000.0 {path}\n")
    letters.append([letter('{"_id":"b"}')])
    more = f'sincedb_path => "{kept}"'
    batch = take(started(tmp_path, more))
    assert [event.get("_id") for event in batch.events] == ["b"]
    batch.ack()
    assert take(started(tmp_path, more)).events == []


def test_a_position_in_dev_null_is_not_kept(tmp_path: Path, letters: DeadLetterFile) -> None:
    for _ in range(2):
        batch = take(started(tmp_path, 'sincedb_path => "/dev/null"'))
        assert len(batch.events) == 1
        batch.ack()
