"""Logging for people and for machines: one line an event, to standard error."""

from __future__ import annotations

import json
import logging
import sys
import time

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


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at` (UTC, ISO 8601), `level`, `logger`, `message`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "at": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(*, level: str = "info", style: str = "text") -> None:
    """Send all log records to standard error as text or JSON lines (`style` "text" or "json").

    Raises SettingsError for a level that is none of LEVELS.
    """
    if level.lower() not in LEVELS:
        raise SettingsError([f'log level "{level}" is none of {", ".join(LEVELS)}'])
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(JsonFormatter())
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        formatter.converter = time.gmtime
        formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
        formatter.default_msec_format = "%s.%03dZ"
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level.lower()])
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    # It warns of malformed headers with a traceback; what that leads to we say ourselves.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
