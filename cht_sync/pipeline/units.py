"""A stream of bytes cut at its delimiters, whatever the pieces are in which it comes."""

from __future__ import annotations

from cht_sync.errors import SourceError


def check_delimiter(text: str) -> None:
    """Refuse a delimiter that ends nothing. Raises ValueError."""
    if not text:
        raise ValueError("the delimiter must not be empty")


class Units:
    """Keeps what has no delimiter yet; longer than `most_bytes`, it is refused."""

    def __init__(self, delimiter: bytes, most_bytes: int) -> None:
        self._delimiter = delimiter
        self._most_bytes = most_bytes
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the units that are complete now, without their delimiters.

        Raises SourceError for one that is too long.
        """
        # A delimiter of several bytes may begin in one piece and end in the next.
        searched = max(0, len(self._pending) - len(self._delimiter) + 1)
        self._pending += data
        if self._pending.find(self._delimiter, searched) < 0:
            self._check(len(self._pending))
            return []
        *units, rest = bytes(self._pending).split(self._delimiter)
        self._pending = bytearray(rest)
        self._check(max(map(len, units)))
        return units

    def rest(self) -> bytes:
        """Return what has no delimiter, at the end of the stream."""
        rest, self._pending = bytes(self._pending), bytearray()
        return rest

    @property
    def pending(self) -> int:
        """Bytes that wait for their delimiter."""
        return len(self._pending)

    def _check(self, size: int) -> None:
        if size > self._most_bytes:
            raise SourceError(
                f"a line is longer than {self._most_bytes} bytes",
                hint="Raise decode_size_limit_bytes of the codec, or look whether delimiter is right.",
            )
