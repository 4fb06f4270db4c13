"""`/_node/logging`: the levels of loggers, read and set while the process runs.

A PUT of `{"logger.NAME": "LEVEL"}` sets one, `logger.` alone is the root logger; names are those of Python's
loggers (`cht_sync.pipeline.couchdb.reader`), levels are Logstash's. A reset brings back what the command line
asked for.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from cht_sync.logs import LEVELS

PREFIX = "logger."
_SHOWN = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class Levels:
    """Sets levels, and remembers what they were."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._lock = threading.Lock()

    def show(self) -> dict[str, str]:
        """Return the level of every logger that has one of its own."""
        known = [logging.getLogger(), *_loggers()]
        found = {one.name: logging.getLevelName(one.level) for one in known if one.level}
        return {name: _SHOWN.get(level, level) for name, level in sorted(found.items())}

    def set(self, wanted: Any) -> None:
        """Set levels, all or none. Raises ValueError for what is no level of a logger."""
        if not isinstance(wanted, dict):
            raise ValueError('the body must be a JSON object, as {"logger.cht_sync.pipeline": "DEBUG"}')
        for key, level in wanted.items():
            if not key.startswith(PREFIX):
                raise ValueError(f"unrecognized option [{key}]")
            if not isinstance(level, str) or level.lower() not in LEVELS:
                raise ValueError(f"invalid level[{level}] for logger[{key.removeprefix(PREFIX)}]")
        with self._lock:
            for key, level in wanted.items():
                logger = logging.getLogger(key.removeprefix(PREFIX))
                self._before.setdefault(logger.name, logger.level)
                logger.setLevel(LEVELS[level.lower()])

    def reset(self) -> None:
        """Bring back the levels that were there before the first `set`."""
        with self._lock:
            for name, level in self._before.items():
                logging.getLogger(name if name != "root" else None).setLevel(level)
            self._before.clear()


def _loggers() -> list[logging.Logger]:
    known = logging.getLogger().manager.loggerDict
    return [one for one in list(known.values()) if isinstance(one, logging.Logger)]
