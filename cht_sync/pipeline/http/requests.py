"""How events become requests."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.bodies import Body
from cht_sync.pipeline.http.client import Request
from cht_sync.pipeline.templates import Template

COMPRESSION_LEVEL = 6


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What all requests have in common.

    `batched` is one request for all events of a batch; `url_varies` says that the url depends on the event.
    """

    method: str
    url: Template
    url_varies: bool
    headers: Mapping[str, Template]
    fixed_headers: Mapping[str, str]
    body: Body
    batched: bool
    compressed: bool

    def request(self, events: Sequence[Event]) -> Request:
        """Return the request for one event, or for several where they are batched.

        Raises ValueError where an event has not what the request is made of.
        """
        url = self.url(events[0])
        headers = {name: value(events[0]) for name, value in self.headers.items()} | dict(self.fixed_headers)
        if self.method == "HEAD":
            return Request(self.method, url, headers, None)
        body: bytes | bytearray = self._array(events) if self.batched else self.body(events[0])
        if self.compressed:
            body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Request(self.method, url, headers, body)

    def _array(self, events: Sequence[Event]) -> bytearray:
        # Piece by piece, so that there is not everything twice.
        array = bytearray(b"[")
        for event in events:
            array += self.body(event)
            array += b","
        array[-1:] = b"]"
        return array
