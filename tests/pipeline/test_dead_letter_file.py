"""Files of dead letters that are appended to, read and rewritten at the same time."""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Input, Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters import file as module
from cht_sync.pipeline.dead_letters import turn
from cht_sync.pipeline.dead_letters.file import file_of, files_in, letters_in, rewrite
from cht_sync.pipeline.dead_letters.line import (
    Letter,
    Origin,
    events_of,
    id_of,
    number_of,
    refused_again,
    whole_event,
)
from cht_sync.pipeline.dead_letters.turn import only_operator_of
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext

OLD = b'{"at":"2026-11-01T00:00:00+00:00","document_id":"%d","code":"22003","reason":"r","document":"{}"}\n'


def rejected(name: object) -> Rejected:
    return Rejected(str(name), "1-a", "7-x", "HTTP 400", "why", json.dumps({"n": name}))


def written(folder: Path, *names: object) -> Path:
    DeadLetterFile(folder, "medic", folder).append([rejected(name) for name in names])
    return file_of(folder, "medic")


def letters(path: Path) -> list[Letter]:
    return list(letters_in(path, "medic"))


def names(path: Path) -> list[str]:
    return [str(letter.members["document_id"]) for letter in letters(path)]


# Lines.


def test_ids_grow_within_a_file_also_when_its_letters_are_gone(tmp_path: Path) -> None:
    path = written(tmp_path, 1, 2)
    before = [letter.id for letter in letters(path)]
    rewrite(path, dict.fromkeys(before))
    assert path.read_bytes() == b""
    written(tmp_path, 3)
    (after,) = [letter.id for letter in letters(path)]
    assert sorted([*before, after]) == [*before, after]


def test_ids_grow_when_the_clock_steps_back_and_the_lock_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 1)
    monkeypatch.setattr(turn.time, "time_ns", lambda: 1_000)
    written(tmp_path, 2)
    (tmp_path / ".medic.jsonl.lock").unlink()
    written(tmp_path, 3)
    first, second, third = [number_of(letter.id) or 0 for letter in letters(path)]
    assert (second, third) == (first + 1, first + 2)


@given(st.integers(0, 1 << 60))
def test_a_number_comes_back_from_its_id(number: int) -> None:
    assert number_of(id_of(number)) == number


def test_a_line_without_an_id_has_a_name_that_stays(tmp_path: Path) -> None:
    path = file_of(tmp_path, "medic")
    path.write_bytes(OLD % 1 + OLD % 2)
    first, second = [letter.id for letter in letters(path)]
    assert first != second
    assert rewrite(path, {first: None}) == {first}
    assert [letter.id for letter in letters(path)] == [second]
    line = refused_again(letters(path)[0], "2026-11-02", Rejected(None, None, None, "HTTP 400", "again"))
    rewrite(path, {second: line})
    (letter,) = letters(path)
    assert (letter.id, letter.members["reason"], letter.members["document_id"]) == (second, "again", "2")


def test_a_line_that_cannot_be_read_is_shown_and_can_be_taken_out(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    path.write_bytes(path.read_bytes() + b'{"at":"20\n5\n')
    written(tmp_path, 2)
    assert [letter.code for letter in letters(path)] == ["HTTP 400", "malformed", "malformed", "HTTP 400"]
    rewrite(path, {letter.id: None for letter in letters(path) if letter.code == "malformed"})
    assert names(path) == ["1", "2"]


def test_half_a_line_at_the_end_is_no_letter_yet_and_stays_what_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, 1, 2)
    path.write_bytes(path.read_bytes() + b'{"id":"zzz')
    assert names(path) == ["1", "2"]
    rewrite(path, {letters(path)[0].id: None})
    assert path.read_bytes().endswith(b'}\n{"id":"zzz')
    assert names(path) == ["2"]


@pytest.mark.parametrize(
    "event",
    [
        Event({"n": 1.5, "big": 10**30}, {"_id": "a", "nested": {"x": [None]}}),
        Event({}, {"_id": "a"}),
        Event({"doc": RawDocument(b'{"a":1}', {})}),
        Event({"text": "\ud800 and \x00"}, {"text": "\udfff"}),
    ],
)
def test_an_event_comes_back_with_its_metadata(event: Event) -> None:
    (again,) = events_of(whole_event(event)) or []
    assert json.loads(again.to_json()) == json.loads(event.to_json())
    assert again.metadata == event.metadata


def test_what_is_no_event_is_none() -> None:
    assert [events_of(one) for one in (None, "{", "5", "[1]")] == [None] * 4
    assert whole_event(Event({"doc": RawDocument(b'{"a":"\xff"}', {})})).count("\\xff") == 1


def test_who_refused_is_in_the_line(tmp_path: Path) -> None:
    origin = Origin("medic", "output", "http", "there", "https://there/x", "medic")
    DeadLetterFile(tmp_path, "medic", tmp_path, origin=origin).append([rejected(1)])
    (letter,) = letters(file_of(tmp_path, "medic"))
    assert {name: letter.members[name] for name in ("plugin_type", "plugin_id", "address", "database")} == {
        "plugin_type": "http",
        "plugin_id": "there",
        "address": "https://there/x",
        "database": "medic",
    }


# Files.


def test_files_are_found_by_their_pipelines(tmp_path: Path) -> None:
    for pipeline in ("medic", "a/b"):
        DeadLetterFile(tmp_path, pipeline, tmp_path).append([rejected(1)])
    assert sorted(files_in(tmp_path)) == ["a/b", "medic"]
    assert files_in(tmp_path / "none") == {}


def test_a_rewrite_keeps_rights_and_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, *range(5))
    rewrite(path, {letters(path)[1].id: None})
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == [".medic.jsonl.lock", "medic.jsonl"]
    assert names(path) == ["0", "2", "3", "4"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_file_of_the_engine_stays_the_engines_when_root_drops_a_letter(tmp_path: Path) -> None:
    path = written(tmp_path, 1, 2)
    (tmp_path / ".medic.jsonl.lock").unlink()
    for one in (tmp_path, path):
        os.chown(one, 12345, 12345)
    rewrite(path, {letters(path)[0].id: None})
    assert {one.stat().st_uid for one in tmp_path.iterdir()} == {12345}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = written(tmp_path / "real", 1, 2)
    link = tmp_path / "medic.jsonl"
    link.symlink_to(real)
    rewrite(link, {letters(link)[0].id: None})
    written(tmp_path, 3)
    assert link.is_symlink()
    assert names(real) == ["2", "3"]


def test_a_rewrite_that_the_disk_refuses_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 1, 2)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rewrite(path, dict.fromkeys(letter.id for letter in letters(path)))
    monkeypatch.undo()
    assert names(path) == ["1", "2"]
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*.tmp"))


def test_an_append_that_the_disk_refuses_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 1)
    before = path.read_bytes()
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:50])

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, 2)
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_one_operator_at_a_time(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    with (
        only_operator_of(path),
        pytest.raises(ChtSyncError, match="being replayed or dropped"),
        only_operator_of(path),
    ):
        pass
    with only_operator_of(path):
        pass


# At the same time.

APPENDERS, EACH, AT_ONCE = 4, 60, 3


def test_nothing_is_lost_or_doubled_while_letters_come_and_go(tmp_path: Path) -> None:
    path = written(tmp_path, "first")
    removed: set[str] = set()
    over = threading.Event()

    def append(appender: int) -> None:
        mine = DeadLetterFile(tmp_path, "medic", tmp_path)
        for n in range(0, EACH, AT_ONCE):
            mine.append([rejected(f"{appender}-{n + one}") for one in range(AT_ONCE)])

    def take_out(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            there = letters(path)
            chosen = {one.id: str(one.members["document_id"]) for one in there if chance.random() < 0.2}
            again = {
                one.id: refused_again(one, "now", Rejected(None, None, None, "HTTP 422", "again"))
                for one in there
                if one.id not in chosen and chance.random() < 0.2
            }
            found = rewrite(path, {**again, **dict.fromkeys(chosen)})
            removed.update(name for id, name in chosen.items() if id in found)

    with ThreadPoolExecutor(APPENDERS + 2) as pool:
        takers = [pool.submit(take_out, seed) for seed in (1, 2)]
        for work in [pool.submit(append, one) for one in range(APPENDERS)]:
            work.result()
        over.set()
        for work in takers:
            work.result()
    left = names(path)
    everything = {"first", *(f"{one}-{n}" for one in range(APPENDERS) for n in range(EACH))}
    assert len(left) == len(set(left))
    assert not set(left) & removed
    assert set(left) | removed == everything
    ids = [number_of(letter.id) or 0 for letter in letters(path)]
    assert ids == sorted(set(ids))


def reader(folder: Path, batch_size: int) -> Input:
    text = f'path => "{folder}" pipeline_id => medic batch_size => {batch_size}'
    (source,) = load(
        f"input {{ dead_letter_queue {{ {text} }} }}", {}, PluginContext("replay", folder / "data")
    ).inputs
    source.start(None, threading.Event())
    return source


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(0, 1 << 12)),
        st.tuples(st.just("again"), st.integers(0, 1 << 12)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.integers(1, 3)),
        st.tuples(st.just("half a line"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, old=st.integers(0, 3))
def test_an_input_reads_each_letter_once_whatever_leaves_the_file_meanwhile(
    steps: Sequence[tuple[str, int]], old: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = file_of(folder, "medic")
        file = DeadLetterFile(folder, "medic", folder)
        source = reader(folder, 2)
        came: list[int] = []
        gone: set[int] = set()
        count = 0

        def read_on() -> bool:
            batch = source.read(threading.Event(), 0)
            assert batch is not None
            came.extend(event.fields["n"] for event in batch.events)
            batch.ack()
            return bool(batch.events or batch.rejected)

        for step, number in [("append", 1), *steps]:
            there = [one for one in letters(path) if one.code != "malformed"]
            chosen = [one for bit, one in enumerate(there) if number >> bit & 1]
            if step == "append":
                file.append([rejected(count + one) for one in range(number)])
                count += number
            elif step == "remove":
                gone |= {int(one.members["document_id"]) for one in chosen} - set(came)
                rewrite(path, {one.id: None for one in chosen})
            elif step == "again":
                refusal = Rejected(None, None, None, "HTTP 422", "again, and for longer")
                rewrite(path, {one.id: refused_again(one, "now", refusal) for one in chosen})
            elif step == "half a line":
                with path.open("ab") as half:
                    half.write(b'{"id":"')
            elif step == "restart":
                source = reader(folder, number)
            else:
                read_on()
        while read_on():
            pass
        assert came == [n for n in range(count) if n not in gone]
