"""The event: fields, metadata, and what Logstash's event API does with them.

`@timestamp`, `tags` and `@metadata` have rules of their own: the first holds a Timestamp, the second
a text or a list of texts, and the third travels with the event but is never written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cht_sync.pipeline.document import ABSENT, RawDocument, encode_json
from cht_sync.pipeline.references import FieldError, Path, assign, find, parse_reference, take
from cht_sync.pipeline.timestamp import Timestamp

TIMESTAMP = "@timestamp"
VERSION = "@version"
METADATA = "@metadata"
TAGS = "tags"


class Event:
    """One thing that happened.

    `fields` are what is written out, `metadata` is what `[@metadata]` refers to. Both dicts are taken
    over, not copied; `@timestamp` (now) and `@version` ("1") are added where missing. The constructor
    trusts its caller that `@timestamp` and `tags` are of the right type: `from_mapping` does not.
    """

    __slots__ = ("fields", "metadata")

    def __init__(self, fields: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None) -> None:
        self.fields: dict[str, Any] = {} if fields is None else fields
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        if TIMESTAMP not in self.fields:
            self.fields[TIMESTAMP] = Timestamp.now()
        if VERSION not in self.fields:
            self.fields[VERSION] = "1"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Event:
        """Make an event of decoded data from outside, as `LogStash::Event.new(hash)`.

        A `@timestamp` that is no time is kept as `_@timestamp`, `tags` that are no tags as `_tags`, and
        the event is tagged `_timestampparsefailure` or `_tagsparsefailure`.
        """
        fields = dict(data)
        metadata = fields.pop(METADATA, None)
        moment = fields.pop(TIMESTAMP, None)
        tags = fields.pop(TAGS, ABSENT)
        event = cls(fields, dict(metadata) if isinstance(metadata, Mapping) else None)
        if tags is not ABSENT:
            if _are_tags(tags):
                fields[TAGS] = tags
            else:
                fields["_tags"] = [tags]
                event.tag("_tagsparsefailure")
        if moment is not None:
            event.set_moment(moment)
        return event

    def get(self, reference: str) -> Any:
        """Return the field's value; None where there is none. Raises InvalidReference."""
        value = self._value(parse_reference(reference))
        return None if value is ABSENT else value

    def include(self, reference: str) -> bool:
        """Tell whether the field is there, also with the value None. Raises InvalidReference."""
        return self.peek(parse_reference(reference)) is not ABSENT

    def set(self, reference: str, value: Any) -> None:
        """Set the field, making maps for missing parents. Raises InvalidReference and FieldError."""
        path = parse_reference(reference)
        if type(value) is RawDocument and (len(path) > 1 or path[0] == METADATA):
            # Only at the top does a raw document open by itself.
            value = value.decode()
        if path[0] == METADATA:
            self._set_metadata(path[1:], value)
            return
        if path[0] == TAGS and (len(path) > 1 or not _are_tags(value)):
            raise FieldError(
                f"Could not set the reserved tags field '{_brackets(path)}' to value "
                f"'{'' if value is None else value}'. The tags field only accepts string or array of string."
            )
        if path == (TIMESTAMP,) and not isinstance(value, Timestamp):
            raise FieldError(f"@timestamp cannot be set to a {type(value).__name__}, only to a time")
        if len(path) > 1:
            self._open(path[0])
        assign(self.fields, path, value)

    def remove(self, reference: str) -> Any:
        """Remove the field and return its value, None where there was none. Raises InvalidReference."""
        path = parse_reference(reference)
        if path == (METADATA,):
            value: Any = self.metadata
            self.metadata = {}
            return value
        if path[0] == METADATA:
            value = take(self.metadata, path[1:])
        else:
            if len(path) > 1:
                self._open(path[0])
            value = take(self.fields, path)
        return None if value is ABSENT else value

    def tag(self, name: str) -> None:
        """Add a tag unless it is there."""
        tags = self.fields.get(TAGS)
        present = [] if tags is None else [tags] if isinstance(tags, str) else tags
        if name not in present:
            self.fields[TAGS] = [*present, name]

    def set_moment(self, value: Any) -> None:
        """Set `@timestamp` from a text or a Timestamp; what is neither is kept in `_@timestamp`, tagged."""
        try:
            moment = value if isinstance(value, Timestamp) else Timestamp.parse(value)
        except (TypeError, ValueError):
            self.fields["_@timestamp"] = value
            self.tag("_timestampparsefailure")
            moment = Timestamp.now()
        self.fields[TIMESTAMP] = moment

    def clone(self) -> Event:
        """Return a copy that shares nothing that can be changed."""
        copied = Event.__new__(Event)
        copied.fields = {name: copy_value(value) for name, value in self.fields.items()}
        copied.metadata = {name: copy_value(value) for name, value in self.metadata.items()}
        return copied

    def peek(self, path: Path) -> Any:
        """Return what is at `path`, or ABSENT, or a RawDocument that nobody has needed to decode."""
        if path[0] == METADATA:
            return find(self.metadata, path[1:])
        value = self.fields.get(path[0], ABSENT)
        if len(path) == 1:
            return value
        if type(value) is RawDocument:
            if path[1] in value.known:
                return find(value.known[path[1]], path[2:])
            value = self._open(path[0])
        return find(value, path[1:])

    def to_json(self) -> bytes:
        """Return the fields as compact JSON, `@metadata` left out, raw documents as received."""
        return encode_json(self.fields)

    def __repr__(self) -> str:
        return f"Event({self.fields!r}, {self.metadata!r})"

    def _value(self, path: Path) -> Any:
        value = self.peek(path)
        return self._open(path[0]) if type(value) is RawDocument else value

    def _open(self, name: str) -> Any:
        value = self.fields.get(name, ABSENT)
        if type(value) is RawDocument:
            value = self.fields[name] = value.decode()
        return value

    def _set_metadata(self, path: Path, value: Any) -> None:
        if path:
            assign(self.metadata, path, value)
        elif isinstance(value, dict):
            self.metadata = value
        else:
            raise FieldError("[@metadata] can only be set to a map")


@lru_cache(maxsize=4096)
def getter(reference: str) -> Callable[[Event], Any]:
    """Compile a reference into a function that returns what `Event.peek` does.

    Raises InvalidReference. The short paths, which nearly every configuration uses, have loops of
    their own since this runs for every event.
    """
    path = parse_reference(reference)
    if path[0] in (METADATA, "") or len(path) > 2:
        return lambda event: event.peek(path)
    if len(path) == 1:
        (name,) = path
        return lambda event: event.fields.get(name, ABSENT)
    outer, inner = path

    def get_member(event: Event) -> Any:
        container = event.fields.get(outer, ABSENT)
        if type(container) is RawDocument and inner in container.known:
            return container.known[inner]
        return event.peek(path)

    return get_member


def copy_value(value: Any) -> Any:
    """Return a copy of a field's value; what cannot be changed is shared."""
    if isinstance(value, dict):
        return {name: copy_value(item) for name, item in value.items()}
    return [copy_value(item) for item in value] if isinstance(value, list) else value


def _are_tags(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _brackets(path: Path) -> str:
    return "".join(f"[{name}]" for name in path)
