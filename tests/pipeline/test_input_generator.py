"""The input generator, and the outputs that throw away."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from engine_runs import Running, json_lines, run_to_the_end

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext

HOST = socket.gethostname()


def generated(settings: str) -> list[Event]:
    pipeline = load(f"input {{ generator {{ {settings} }} }}", {}, PluginContext("main", Path()))
    (source,) = pipeline.inputs
    stop = threading.Event()
    source.start(None, stop)
    events: list[Event] = []
    while (batch := source.read(stop, 0)) is not None:
        events += batch.events
    source.close()
    return events


def test_it_gives_its_message_as_often_as_asked_with_host_and_sequence() -> None:
    first, second = generated("count => 2")
    assert {name: first.get(name) for name in ("message", "event", "host")} == {
        "message": "Hello world!",
        "event": {"original": "Hello world!", "sequence": 0},
        "host": {"name": HOST},
    }
    assert second.get("[event][sequence]") == 1


def test_without_the_common_schema_the_names_are_the_old_ones() -> None:
    (event,) = generated(
        "count => 1 ecs_compatibility => disabled codec => plain { ecs_compatibility => disabled }"
    )
    assert {name for name in event.fields if not name.startswith("@")} == {"message", "host", "sequence"}
    assert (event.get("host"), event.get("sequence")) == (HOST, 0)


def test_all_lines_come_in_order_each_time() -> None:
    events = generated('lines => ["a", "b"] count => 2 message => "unused"')
    assert [event.get("message") for event in events] == ["a", "b", "a", "b"]
    assert [event.get("[event][sequence]") for event in events] == [0, 0, 1, 1]


def test_each_thread_gives_all_lines() -> None:
    events = generated("threads => 3 count => 2")
    assert [event.get("[event][sequence]") for event in events] == [0, 0, 0, 1, 1, 1]


def test_lines_go_through_the_codec_and_the_common_options() -> None:
    (event,) = generated(
        """lines => ['{"host":"mine","event":5}'] count => 1 codec => json type => "t" tags => ["x"]
           add_field => { "n" => "%{host}" }"""
    )
    assert [event.get(name) for name in ("host", "event", "type", "tags", "n")] == [
        "mine",
        5,
        "t",
        ["x"],
        "mine",
    ]


def test_without_a_count_it_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    pipeline = load("input { generator { batch_size => 10 } }", {}, PluginContext("main", tmp_path))
    (source,) = pipeline.inputs
    stop = threading.Event()
    source.start(None, stop)
    assert [len(source.read(stop, 0).events) for _ in range(3)] == [10, 10, 10]  # type: ignore[union-attr]
    stop.set()
    assert source.read(stop, 0) is None


def test_a_batch_is_as_large_as_the_option_says_else_the_settings(tmp_path: Path) -> None:
    context = PluginContext("main", tmp_path, batch_size=7)
    for settings, size in (("", 7), ("batch_size => 5", 5)):
        (source,) = load(f"input {{ generator {{ {settings} }} }}", {}, context).inputs
        source.start(None, threading.Event())
        batch = source.read(threading.Event(), 0)
        assert batch is not None
        assert len(batch.events) == size


@pytest.mark.parametrize(
    ("kind", "plugin", "value", "wanted"),
    [
        ("input", "generator", "count => -1", "a whole number from 0 on"),
        ("input", "generator", "count => 1.5", "a whole number from 0 on"),
        ("input", "generator", "threads => 0", "a whole number from 1 on"),
        ("input", "generator", "batch_size => 0", "a whole number from 1 on"),
        ("input", "file", "discover_interval => -1", "a whole number from 0 on"),
        ("input", "file", "file_chunk_size => 0", "a whole number from 1 on"),
        ("input", "file", "path => []", "got an empty array"),
        ("input", "couchdb_changes", "port => 70000", "a whole number from 1 to 65535"),
        ("input", "couchdb_changes", "reconnect_delay => -1", "expected 0 or more"),
        ("filter", "drop", "percentage => 101", "a number from 0 to 100"),
        ("output", "pipeline", "send_to => []", "the events would go nowhere"),
        ("output", "http", "retryable_codes => [1]", "a whole number from 100 to 599"),
        ("output", "http", "automatic_retries => -1", "a whole number from 0 on"),
        ("codec", "json_lines", "decode_size_limit_bytes => 0", "a whole number from 1 on"),
    ],
)
def test_values_that_are_impossible_are_refused(kind: str, plugin: str, value: str, wanted: str) -> None:
    block = f"{plugin} {{ {value} }}"
    text = f"output {{ stdout {{ codec => {block} }} }}" if kind == "codec" else f"{kind} {{ {block} }}"
    with pytest.raises(ConfigError) as refused:
        load(text, {}, PluginContext("main", Path()))
    where = f'option "{value.split(maxsplit=1)[0]}" of'
    assert any(where in line and wanted in line for line in str(refused.value).splitlines())


@pytest.mark.parametrize("name", ["null", "sink"])
def test_what_is_thrown_away_is_delivered(name: str) -> None:
    pipeline = load(f"output {{ {name} {{ codec => json }} }}", {}, PluginContext("main", Path()))
    (output,) = pipeline.outputs
    assert output.write(Batch([Event()]), threading.Event())
    output.close()


def test_the_engine_takes_events_from_the_generator_through_filters_to_an_output(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run_to_the_end(
        tmp_path,
        f"""input {{ generator {{ count => 2500 }} }}
        filter {{ mutate {{ add_field => {{ "n" => "%{{[event][sequence]}}" }} }} }}
        output {{ null {{}} file {{ path => "{out}" }} }}""",
    )
    assert [one["n"] for one in json_lines(out)] == [str(n) for n in range(2500)]


def test_a_generator_without_end_is_stopped_in_order(tmp_path: Path) -> None:
    running = Running(tmp_path, main="input { generator {} } output { null {} }")
    running.stop()
