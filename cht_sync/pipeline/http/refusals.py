"""Refusals: of one event, or of all because something is configured wrongly.

A status such as 401 or 404 may be about one event; that every event gets it says that url or login are wrong.
So some in a row, with nothing accepted between them, count as single events; from then on the output waits.
"""

from __future__ import annotations

from cht_sync.pipeline.http.client import Answer

CONFIGURATION = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 426, 501, 505, 511})
"""Beside 3xx the statuses that are about url, method, login or headers."""
NOT_THERE = frozenset({404, 410})
"""Where the url depends on the event, these are about the event, in the first place."""

AT_THE_START = 1
"""So many in a row count as single events as long as nothing was accepted,"""
AFTER_SUCCESS = 5
"""so many once something was,"""
NOTHING_THERE = 50
"""and so many where it is only that what the events name is not there."""


class Refused(Exception):
    """The destination refuses these events; `answer` is None where it was not asked."""

    def __init__(self, code: str, reason: str, answer: Answer | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.answer = answer

    @property
    def status(self) -> int:
        """That of the answer; 0 where there is none."""
        return 0 if self.answer is None else self.answer.status

    @property
    def is_about_configuration(self) -> bool:
        """Whether the status may mean that all events would be refused."""
        return self.status in CONFIGURATION or 300 <= self.status < 400


class Streak:
    """The refusals since an event was accepted for the last time."""

    def __init__(self, *, url_varies: bool) -> None:
        self._url_varies = url_varies
        self._has_accepted = False
        self._length = 0

    def accepted(self) -> None:
        """An event was accepted: what was refused was about single events."""
        self._has_accepted, self._length = True, 0

    def is_too_long(self, refusal: Refused) -> bool:
        """Count the refusal of one event; true where it is one too many to be about single events."""
        if not refusal.is_about_configuration:
            return False
        if self._url_varies and refusal.status in NOT_THERE:
            most = NOTHING_THERE
        else:
            most = AFTER_SUCCESS if self._has_accepted else AT_THE_START
        if self._length >= most:
            return True
        self._length += 1
        return False
