"""Log lines are one event a line, in UTC, for people or for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from cht_sync import logs
from cht_sync.errors import SettingsError


@pytest.fixture(autouse=True)
def restored_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_text_line_begins_with_the_moment_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logging.getLogger("cht_sync.part").info("hello %s", "world")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    cht_sync\.part: hello world\n", captured.err
    )


def test_a_json_line_is_one_object_with_the_exception_inside(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json")
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("part").exception("it broke: %s", "é")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("at"))
    assert entry.pop("exception").endswith("ValueError: bad\nnews")
    assert entry == {"level": "error", "logger": "part", "message": "it broke: é"}


def test_the_last_millisecond_of_a_second_has_three_digits() -> None:
    record = logging.LogRecord("part", logging.INFO, "", 0, "text", None, None)
    record.created, record.msecs = 0.9996, 999.6
    assert json.loads(logs.JsonFormatter().format(record))["at"] == "1970-01-01T00:00:00.999Z"


@pytest.mark.parametrize(
    ("level", "shown"),
    [("error", ["error"]), ("WARN", ["error", "warning"]), ("trace", ["error", "warning", "debug"])],
)
def test_only_records_of_the_level_and_above_are_shown(
    level: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(level=level, style="json")
    part = logging.getLogger("part")
    part.error("text")
    part.warning("text")
    part.debug("text")
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == shown


def test_an_unknown_level_is_refused_before_anything_changes() -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    with pytest.raises(SettingsError, match='log level "loud" is none of'):
        logs.configure(level="loud")
    assert root.handlers == before


def test_configuring_twice_shows_a_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.configure()
    logging.getLogger("part").info("text")
    assert capsys.readouterr().err.count("text") == 1
    assert all(
        getattr(handler, "stream", None) in (sys.stderr, None) for handler in logging.getLogger().handlers
    )


def test_malformed_headers_of_a_server_leave_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="debug")
    logging.getLogger("urllib3.connection").warning("Failed to parse headers", exc_info=ValueError("x"))
    assert capsys.readouterr().err == ""
