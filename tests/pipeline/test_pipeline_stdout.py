"""The output stdout with its codecs."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from cht_sync.errors import DeliveryError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.timestamp import Timestamp

MOMENT = Timestamp.parse("2020-01-02T03:04:05.678Z")


def write(settings: str, batch: Batch) -> bool:
    pipeline = load(f"output {{ stdout {{ {settings} }} }}", {}, PluginContext("main", Path()))
    (output,) = pipeline.outputs
    return output.write(batch, threading.Event())


def event(**fields: object) -> Event:
    return Event({**fields, "@timestamp": MOMENT})


def test_json_lines_writes_one_event_a_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    batch = Batch([event(a=1), event(doc=RawDocument(b'{"b": 1.50}', {}))])
    assert write("codec => json_lines", batch)
    assert capsysbinary.readouterr().out == (
        b'{"a":1,"@timestamp":"2020-01-02T03:04:05.678Z","@version":"1"}\n'
        b'{"doc":{"b": 1.50},"@timestamp":"2020-01-02T03:04:05.678Z","@version":"1"}\n'
    )


def test_json_lines_ends_events_as_asked(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write('codec => json_lines { delimiter => ";" }', Batch([event(a=1)]))
    assert capsysbinary.readouterr().out.endswith(b"};")


def test_rubydebug_is_the_default_and_lines_up_names(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write(
        "",
        Batch(
            [
                event(
                    message='say "hi" \\ #{x}\n\x1b\x00',
                    doc=RawDocument(b'{"deep":{"list":[1,null,true,2.0,{"x":[]}]},"e":{}}', {}),
                    long=list(range(11)),
                )
            ]
        ),
    )
    assert capsysbinary.readouterr().out.decode() == (
        "{\n"
        '       "message" => "say \\"hi\\" \\\\ \\#{x}\\n\\e\\x00",\n'
        '           "doc" => {\n'
        '        "deep" => {\n'
        '            "list" => [\n'
        "                [0] 1,\n"
        "                [1] nil,\n"
        "                [2] true,\n"
        "                [3] 2.0,\n"
        "                [4] {\n"
        '                    "x" => []\n'
        "                }\n"
        "            ]\n"
        "        },\n"
        '           "e" => {}\n'
        "    },\n"
        '          "long" => [\n'
        + "".join(f"        [{index:>2}] {index}{',' if index < 10 else ''}\n" for index in range(11))
        + "    ],\n"
        '    "@timestamp" => 2020-01-02T03:04:05.678Z,\n'
        '      "@version" => "1"\n'
        "}\n"
    )


def test_rubydebug_shows_metadata_only_when_asked(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    batch = Batch([Event({"@timestamp": MOMENT}, {"seq": "5-x"})])
    write("", batch)
    assert b"seq" not in capsysbinary.readouterr().out
    write("codec => rubydebug { metadata => true }", batch)
    assert b'"seq" => "5-x"' in capsysbinary.readouterr().out


def test_a_closed_standard_output_is_no_delivery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "read-only"
    path.touch()
    with path.open() as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(DeliveryError, match="standard output"):
            write("", Batch([event(a=1)]))
