"""Trying filters: events in, events out, without inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.document import decode_json, encode_json
from cht_sync.pipeline.event import METADATA, Event


def filtered(pipeline: Pipeline, lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Return what the filters make of events, a JSON object a line each; `@metadata` is shown where it is.

    `name` is that of the file in errors. Raises ChtSyncError for a line that is no event.
    """
    events = [event for number, line in enumerate(lines, 1) for event in _event(line, f"{name}:{number}")]
    for event in pipeline.filter(events):
        shown = event.to_json()
        if event.metadata:
            members = b"" if shown == b"{}" else b"," + shown[1:-1]
            shown = b'{"' + METADATA.encode() + b'":' + encode_json(event.metadata) + members + b"}"
        yield shown


def _event(line: bytes, place: str) -> Iterator[Event]:
    if not line.strip():
        return
    try:
        data = decode_json(line)
    except ValueError as error:
        raise ChtSyncError(f"{place}: is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise ChtSyncError(f'{place}: an event is an object, as {{"message": "text"}}')
    yield Event.from_mapping(data)
