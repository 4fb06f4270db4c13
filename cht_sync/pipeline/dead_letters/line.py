"""A dead letter as a line of a file.

A JSON object that begins with its `id`; `docs/operating.md` lists the members. Ids are numbers to the base of
36 that grow within a file, also when its letters were removed: microseconds since 1970, or one more than the
last. Older lines have no id, and only the members of `Rejected`, `at` and `fingerprint`; they are known by a
hash of their bytes.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.document import decode_json, encode_json
from cht_sync.pipeline.event import METADATA, Event

MALFORMED = "malformed"
"""The code of a line that cannot be read."""

_DIGITS = string.digits + string.ascii_lowercase
_ID = re.compile(rb'\{"id":"([0-9a-z-]+)"')
_HASH = 10
"""Digits of the hash by which a line without an id is known."""


@dataclass(frozen=True)
class RefusedEvent(Rejected):
    """An event that an output cannot deliver; `document` is all of it, `@metadata` included.

    `status` is that of an HTTP answer, `response` how its text begins.
    """

    status: int | None = None
    response: str | None = None


@dataclass(frozen=True)
class Origin:
    """Who refused: a plugin of a pipeline, an input or an output by its `kind`.

    `address` is where an output delivers, without credentials; `database` is the CouchDB database that the
    pipeline reads. What is not known is None.
    """

    pipeline: str
    kind: str | None = None
    plugin_type: str | None = None
    plugin_id: str | None = None
    address: str | None = None
    database: str | None = None


@dataclass(frozen=True)
class Letter:
    """A line that was read; `id` is its name within the file of the pipeline."""

    pipeline: str
    id: str
    members: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """What an operator types."""
        return f"{self.pipeline}:{self.id}"

    @property
    def code(self) -> str | None:
        code = self.members.get("code")
        return None if code is None else str(code)


def id_of(number: int) -> str:
    """Return the id of the letter with this number."""
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits or "0"


def number_of(id: str) -> int | None:
    """Return the number in an id; None for a line that is known by its hash."""
    return int(id, 36) if id.isalnum() else None


def id_of_line(line: bytes) -> str:
    """Return the id of a line, with or without its end; nothing else of it is decoded."""
    found = _ID.match(line)
    if found is not None:
        return found[1].decode()
    return f"old-{hashlib.sha256(line.rstrip()).hexdigest()[:_HASH]}"


def line_of(id: str, at: str, origin: Origin, rejected: Rejected, fingerprint: str | None = None) -> bytes:
    """Return the line, its end included. `fingerprint` is that of the letter in the table, if it is there."""
    members = {"status": None, "response": None, **asdict(rejected)}
    document = members.pop("document")
    line: dict[str, Any] = {"id": id, "at": at, **asdict(origin), **members, "document": document}
    if fingerprint is not None:
        line["fingerprint"] = fingerprint
    return encode_json(line) + b"\n"


def read_line(line: bytes, pipeline: str) -> Letter:
    """Return the letter of a line; one that cannot be read, such as half of one, is `malformed`."""
    id = id_of_line(line)
    try:
        members = decode_json(line)
        if not isinstance(members, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        text = line.rstrip(b"\n").decode(errors="backslashreplace")
        members = {"code": MALFORMED, "reason": f"the line cannot be read: {error}", "document": text}
    return Letter(pipeline, id, members)


def refused_again(letter: Letter, at: str, refusal: Rejected) -> bytes:
    """Return the letter's line with the reasons of another refusal, and the time of that as `replayed_at`."""
    why = {name: getattr(refusal, name, None) for name in ("code", "status", "reason", "response")}
    members = {**letter.members, **why, "replayed_at": at}
    return encode_json({"id": letter.id, **{name: members[name] for name in members if name != "id"}}) + b"\n"


def whole_event(event: Event) -> str:
    """Return an event as JSON text, `@metadata` included."""
    text = event.to_json()
    if event.metadata:
        members = b"" if text == b"{}" else b"," + text[1:-1]
        text = b'{"' + METADATA.encode() + b'":' + encode_json(event.metadata) + members + b"}"
    return text.decode(errors="backslashreplace")


def events_of(document: Any) -> list[Event] | None:
    """Return the events of a letter's document: one, or those of an array; None where it holds none."""
    if not isinstance(document, str):
        return None
    try:
        value = decode_json(document)
    except ValueError:
        return None
    objects = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in objects):
        return None
    return [Event.from_mapping(one) for one in objects]
