"""Log lines are one event a line, in UTC, for people or for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
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


def test_fields_stand_beside_the_message_as_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json")
    extra = logs.fields(
        event="caught_up",
        source="couchdb.example.org/a/b",
        sequence="17-g1AAAACbeJzLYWBgYMpgTmHgz8tPSTV0MDQy1zMAQsMckEQiQ1",
        documents=3,
        duration_seconds=1.23456,
        code=None,
    )
    logging.getLogger("part").info("done", extra=extra)
    entry = json.loads(capsys.readouterr().err)
    assert {name: entry[name] for name in entry if name not in ("at", "level", "logger", "message")} == {
        "event": "caught_up",
        "source": "couchdb.example.org/a/b",
        "database": "a/b",
        "sequence": "17",
        "documents": 3,
        "duration_seconds": 1.235,
    }


def test_fields_leave_a_text_line_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logging.getLogger("part").info("done", extra=logs.fields(event="caught_up", documents=3))
    assert capsys.readouterr().err.endswith(" part: done\n")


@pytest.mark.parametrize(
    ("sequence", "shown"),
    [
        ("0", "0"),
        ("now", "now"),
        ("17-g1AAAA", "17"),
        ("g1AAAACbeJzLYWBgYMpgTmHgz8tPSTV0", "g1AAAACbeJzLYWBgYMpg..."),
    ],
)
def test_of_a_sequence_its_number_is_shown(sequence: str, shown: str) -> None:
    assert logs.short_sequence(sequence) == shown


@pytest.mark.parametrize("style", logs.STYLES)
def test_a_message_of_several_lines_is_one_line(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style=style)
    logging.getLogger("part").warning("first\nsecond\r\nthird")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_warnings_and_the_lines_of_libraries_are_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logs.configure(style="json")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    logging.getLogger("waitress").error("a library says")
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["logger"] for one in told] == ["py.warnings", "waitress"]


def test_what_ends_a_thread_unexpectedly_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json")

    def fail() -> None:
        raise ValueError("bad\nnews")

    thread = threading.Thread(target=fail, name="a thread")
    thread.start()
    thread.join()
    [line] = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == (
        "critical",
        "thread a thread ended unexpectedly: ValueError",
    )
    assert entry["exception"].endswith("ValueError: bad\nnews")


def test_malformed_headers_of_a_server_leave_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="debug")
    logging.getLogger("urllib3.connection").warning("Failed to parse headers", exc_info=ValueError("x"))
    assert capsys.readouterr().err == ""
