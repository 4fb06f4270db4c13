"""The moment of an event, as Logstash keeps it: nanoseconds since 1970 in UTC.

The text form is made only when somebody writes the event, and only once for all the events that
share the moment.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar

NANOSECONDS = 1_000_000_000
_ISO_8601 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>[Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timestamp:
    """A point in time; compares by time, writes itself as ISO 8601 with 3, 6 or 9 decimals and Z."""

    __slots__ = ("_text", "nanoseconds")

    _latest: ClassVar[Timestamp | None] = None
    """The last present that was asked for."""

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds
        self._text: str | None = None

    @classmethod
    def now(cls) -> Timestamp:
        """Return the present, cut to milliseconds: the same object for all that ask in the same one."""
        nanoseconds = time.time_ns() // 1_000_000 * 1_000_000
        latest = Timestamp._latest
        if latest is None or latest.nanoseconds != nanoseconds:
            latest = Timestamp._latest = cls(nanoseconds)
        return latest

    @classmethod
    def parse(cls, text: str) -> Timestamp:
        """Read ISO 8601 as Logstash does: zone optional (then the machine's own), `.` before the fraction.

        Raises ValueError for anything else.
        """
        found = _ISO_8601.fullmatch(text)
        if found is None:
            raise ValueError(f"not an ISO 8601 time: {text!r}")
        zone = (found["zone"] or "").upper().replace("Z", "+00:00")
        try:
            moment = datetime.fromisoformat(f"{found['date']}T{found['time'] or '00:00'}{zone}").astimezone(
                UTC
            )
        except OverflowError:
            raise ValueError(f"outside the years 1 to 9999 in UTC: {text!r}") from None
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
        return cls(seconds * NANOSECONDS + int((found["fraction"] or "").ljust(9, "0")))

    @property
    def seconds(self) -> int:
        """Whole seconds since 1970."""
        return self.nanoseconds // NANOSECONDS

    def __str__(self) -> str:
        if self._text is None:
            seconds, rest = divmod(self.nanoseconds, NANOSECONDS)
            self._text = f"{_to_the_second(seconds)}.{_fraction(rest)}Z"
        return self._text

    def __repr__(self) -> str:
        return f"Timestamp({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.nanoseconds == self.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanoseconds < other.nanoseconds


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def _fraction(nanoseconds: int) -> str:
    digits = f"{nanoseconds:09d}"
    if digits.endswith("000000"):
        return digits[:3]
    return digits[:6] if digits.endswith("000") else digits
