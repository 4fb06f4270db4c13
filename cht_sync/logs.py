"""Logging for people and for machines: one line an event, to standard error.

A text line says everything in its message. A JSON line says it in fields, too: whoever logs an event that an
operator looks for passes `extra=fields(...)`. `Fields` is the whole vocabulary of names, `Event` that of
events; docs/monitoring.md explains both.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, TypedDict, Unpack

from cht_sync.errors import SettingsError

LEVELS = {
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
"""Logstash's names of levels, and Python's `warning`."""
STYLES = ("text", "json")
LONGEST_SEQUENCE = 20
"""Characters that are shown of a sequence that does not begin with a number."""
DIGITS = 3
"""Of seconds after the point."""

Event = Literal[
    "reading_started",
    "progress",
    "caught_up",
    "source_unavailable",
    "source_recovered",
    "database_recreated",
    "operator_needed",
    "delivery_failed",
    "delivery_recovered",
    "batch_split",
    "batch_split_ended",
    "dead_letter",
    "value_replaced",
    "superseded",
    "load_started",
    "load_progress",
    "load_ended",
    "load_failed",
    "pipeline_failed",
    "pipeline_retried",
    "pipeline_reloaded",
    "pipeline_stopped",
    "reload_refused",
    "process_failed",
    "models_ran",
    "model_failed",
    "tests_ran",
    "test_failed",
    "test_warned",
    "dbt_failed",
    "couch2pg_refreshed",
    "couch2pg_refresh_failed",
    "package_changed",
    "package_failed",
    "postgres_lost",
    "postgres_regained",
    "listening",
    "schema_loaded",
    "requests_failing",
    "requests_recovered",
    "connections_refused",
    "connections_recovered",
    "documents_generated",
    "service_starting",
    "service_ready",
    "service_ended",
    "service_stopping",
    "environment_running",
]
"""What happened; stays the same when the words of a message change."""


class Fields(TypedDict, total=False):
    """What a JSON line says beside `at`, `level`, `logger` and `message`. Absent: it has no meaning there."""

    event: Event
    pipeline: str
    source: str | None
    """`<host>/<database>` of CouchDB."""
    database: str
    """Of CouchDB; follows from `source`."""
    sequence: str | None
    """Where in the feed: the number at its beginning, which orders nothing."""
    document_id: str | None
    documents: int | None
    rows: int
    pending: int
    dead_letters: int
    replaced_values: int | None
    tombstones: int
    requests: int
    attempts: int
    """How often something was tried in vain in a row."""
    code: str | None
    """SQLSTATE, PostgREST's code, or `HTTP <status>`."""
    error: str
    """What failed and what to do next."""
    duration_seconds: float
    behind_seconds: float
    pause_seconds: float | None
    """Until the next try."""
    documents_per_second: float
    models: int | None
    tests: int | None
    failed: int
    not_tried: int
    result: Literal["success", "failed"]
    model: str
    test: str
    package: str
    service: str
    exit_code: int | None
    restarts: int
    host: str
    port: int
    tables: int
    environment: str


def fields(**given: Unpack[Fields]) -> dict[str, Any]:
    """What a log call passes as `extra`; what is None is left out, and a sequence is shortened."""
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "source" in found:
        found.setdefault("database", found["source"].partition("/")[2])
    if "sequence" in found:
        found["sequence"] = short_sequence(found["sequence"])
    return {"fields": found}


def short_sequence(sequence: str) -> str:
    """The part of an opaque sequence that a person can compare: `17-g1AAAA...` is `17`."""
    number, dash, _rest = sequence.partition("-")
    if dash and number.isdigit():
        return number
    return sequence if len(sequence) <= LONGEST_SEQUENCE else f"{sequence[:LONGEST_SEQUENCE]}..."


class TextFormatter(logging.Formatter):
    """Moment (UTC), level, logger, message; a message of several lines becomes one."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = " ".join(record.message.splitlines())
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at` (UTC, ISO 8601), `level`, `logger`, `message`, fields, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "at": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        given: Mapping[str, Any] = getattr(record, "fields", {})
        for name, value in given.items():
            entry[name] = round(value, DIGITS) if isinstance(value, float) else value
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(*, level: str = "info", style: str = "text") -> None:
    """Send all log records to standard error as text or JSON lines (`style` "text" or "json").

    Python's warnings, and in JSON what ends a thread or the process unexpectedly, are log records, too.
    Raises SettingsError for a level that is none of LEVELS.
    """
    if level.lower() not in LEVELS:
        raise SettingsError([f'log level "{level}" is none of {", ".join(LEVELS)}'])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level.lower()])
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    # Of an answer whose headers broke off it shows a traceback; whoever made the request says what failed.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    if style == "json":
        sys.excepthook = _log_end_of_process
        threading.excepthook = _log_end_of_thread


def are_json() -> bool:
    """Whether log lines are JSON now, so that errors of a command must be, too."""
    return any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers)


def _log_end_of_process(
    kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical("ended unexpectedly: %s", kind.__name__, exc_info=error)


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else "?"
    logging.getLogger(__name__).critical(
        "thread %s ended unexpectedly: %s", name, ended.exc_type.__name__, exc_info=ended.exc_value
    )
