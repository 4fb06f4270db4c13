"""The codecs plain, line, json and json_lines: what they make of bytes, and of events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.errors import ConfigError, SourceError
from cht_sync.pipeline import tally
from cht_sync.pipeline.config import load, parse
from cht_sync.pipeline.config.check import check
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import Codec, Decoder, PluginContext
from cht_sync.pipeline.timestamp import Timestamp
from cht_sync.pipeline.units import Units

CONTEXT = PluginContext("main", Path())
MOMENT = Timestamp.parse("2020-01-02T03:04:05.678Z")


def codec(text: str) -> Any:
    """The codec of a block, as an output has it."""
    checked = check(parse(f"output {{ stdout {{ codec => {text} }} }}", env={}))
    (output,) = checked.outputs
    return output.options.codec.build(CONTEXT)


def decoded(text: str, unit: bytes) -> list[dict[str, Any]]:
    """The fields of the events, without those that each event has."""
    decoder: Decoder = codec(text)
    events = [json.loads(event.to_json()) for event in decoder.decode(unit)]
    return [{k: v for k, v in one.items() if k not in ("@timestamp", "@version")} for one in events]


def encoded(text: str, fields: dict[str, Any]) -> bytes:
    one: Codec = codec(text)
    return one.encode(Event({"@timestamp": MOMENT, **fields}))


@pytest.mark.parametrize("name", ["plain", "line"])
def test_text_is_the_message_and_the_original(name: str) -> None:
    assert decoded(name, b"a b") == [{"message": "a b", "event": {"original": "a b"}}]


@pytest.mark.parametrize("name", ["plain", "line"])
def test_without_the_common_schema_there_is_only_the_message(name: str) -> None:
    assert decoded(f"{name} {{ ecs_compatibility => disabled }}", b"a") == [{"message": "a"}]


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("UTF-8", "żółć".encode(), "żółć"),
        ("UTF-8", b'caf\xe9 "x" \\ #{y} \t\x01', 'caf\\xE9 \\"x\\" \\\\ \\#{y} \\t\\u0001'),
        ("CP1252", b"caf\xe9 \x80", "café €"),
        ("CP1252", b"\x81", "\ufffd"),
        ("ISO-8859-2", b"\xbf", "ż"),
        ("ASCII-8BIT", b"a\xff", "a\ufffd"),
        ("UTF-16LE", "żó".encode("utf-16-le"), "żó"),
    ],
)
def test_bytes_become_text_by_the_charset(charset: str, data: bytes, text: str) -> None:
    block = f'plain {{ charset => "{charset}" ecs_compatibility => disabled }}'
    assert decoded(block, data) == [{"message": text}]


@pytest.mark.parametrize("name", ["plain", "line", "json", "json_lines"])
def test_a_character_set_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="'UTF-99' is no character set"):
        codec(f'{name} {{ charset => "UTF-99" }}')


def test_an_event_is_written_as_time_host_and_message() -> None:
    assert encoded("plain", {"host": {"name": "h", "ports": [1, 2]}, "message": "m"}) == (
        b"2020-01-02T03:04:05.678Z {name=h, ports=[1, 2]} m"
    )
    assert encoded("line", {}) == b"2020-01-02T03:04:05.678Z %{host} %{message}\n"


def test_a_format_is_filled_in() -> None:
    assert encoded('plain { format => "%{a}-%{[b][c]}" }', {"a": 1, "b": {"c": "ż"}}) == "1-ż".encode()
    assert encoded('line { format => "%{a}" delimiter => "|" }', {"a": 1}) == b"1|"


def test_an_object_is_an_event_and_an_array_several() -> None:
    block = "json { ecs_compatibility => disabled }"
    assert decoded(block, b'{"a":1.50}') == [{"a": 1.5}]
    assert decoded(block, b' [{"a":1},{"a":2}] ') == [{"a": 1}, {"a": 2}]
    assert decoded(block, b"[]") == decoded(block, b" \t") == []


def test_json_keeps_the_original_of_one_event_and_json_lines_does_not() -> None:
    assert decoded("json", b'{"a":1}') == [{"a": 1, "event": {"original": '{"a":1}'}}]
    assert decoded("json", b'{"event":"mine"}') == [{"event": "mine"}]
    assert decoded("json", b'[{"a":1},{"a":2}]') == [{"a": 1}, {"a": 2}]
    assert decoded("json_lines", b'{"a":1}') == [{"a": 1}]


@pytest.mark.parametrize("name", ["json", "json_lines"])
@pytest.mark.parametrize("text", ["{no", "5", '"a"', "null", '[{"a":1},2]', '{"a":1} {"b":2}'])
def test_what_is_no_object_is_a_message_with_a_tag(name: str, text: str) -> None:
    assert decoded(name, text.encode()) == [{"message": text, "tags": ["_jsonparsefailure"]}]


def test_many_texts_that_are_no_json_are_a_few_lines_with_a_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder: Decoder = codec("json")
    for _ in range(1000):
        decoder.decode(b"{secret")
    assert len(caplog.records) == 1
    monkeypatch.setattr(tally, "SAY_AGAIN", 0.0)
    decoder.decode(b"{}")
    assert "(events: 999)" in caplog.messages[1]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("name", ["json", "json_lines"])
def test_a_target_takes_what_was_read(name: str) -> None:
    block = f'{name} {{ target => "[a][b]" ecs_compatibility => disabled }}'
    assert decoded(block, b'{"@timestamp":"x","c":1}') == [{"a": {"b": {"@timestamp": "x", "c": 1}}}]


def test_json_has_the_time_the_tags_and_the_metadata_of_the_event() -> None:
    (event,) = codec("json_lines").decode(
        b'{"@timestamp":"2020-01-02T03:04:05.678Z","tags":"x","@metadata":{"m":1}}'
    )
    assert (event.get("@timestamp"), event.get("tags"), event.metadata) == (MOMENT, "x", {"m": 1})


def test_json_in_another_character_set_is_converted() -> None:
    assert decoded('json_lines { charset => "CP1252" }', b'{"a":"\xe9"}') == [{"a": "é"}]


def test_a_codec_that_only_writes_is_refused_in_an_input() -> None:
    with pytest.raises(ConfigError, match='codec "rubydebug" cannot read events'):
        load("input { stdin { codec => rubydebug } }", {}, CONTEXT)


@given(st.binary())
def test_whatever_the_bytes_are_decoding_gives_events_and_never_fails(data: bytes) -> None:
    for name in ("plain", "line", "json", "json_lines"):
        for event in codec(name).decode(data):
            event.to_json()


@given(
    st.lists(st.binary(max_size=20).filter(lambda unit: b"\r\n" not in unit and not unit.endswith(b"\r"))),
    st.data(),
)
def test_a_stream_is_cut_the_same_way_whatever_the_pieces_are(
    units: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(unit + b"\r\n" for unit in units)
    cut = Units(b"\r\n", 100)
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += cut.feed(stream[:size])
        stream = stream[size:]
    assert (found, cut.rest()) == (units, b"")


def test_a_line_that_is_too_long_stops_the_input_and_says_what_to_do() -> None:
    with pytest.raises(SourceError, match="longer than 3 bytes") as caught:
        Units(b"\n", 3).feed(b"abcd")
    assert caught.value.hint is not None
    assert "decode_size_limit_bytes" in caught.value.hint
