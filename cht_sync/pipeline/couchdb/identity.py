"""Which CouchDB server, and which instance of a database there, a sequence belongs to.

A database that was deleted and created again takes an old sequence without a word and reads from its
start; only this tells. Sources: CouchDB's documentation, "/" and "/{db}", and recorded answers of
CouchDB 3.4. Since that version `instance_start_time` is the time of the database's creation, as it is with
the embedded server; older ones say "0", even older ones and other servers of the protocol when the process
opened the file. The uuid is the server's; the nodes of a cluster are set up with one and the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

TELLS_CREATION = (3, 4)
"""The first version whose `instance_start_time` can be believed."""
EMBEDDED = "cht-sync"
"""The vendor that the embedded server names."""
NOT_TOLD = "0"


@dataclass(frozen=True)
class Identity:
    """What is known of where a sequence belongs; None where it is not known."""

    server_uuid: str | None = None
    instance_start_time: str | None = None

    def is_another_server(self, found: Identity) -> bool:
        """Whether `found` is another server than this one, as far as both are known."""
        return _differ(self.server_uuid, found.server_uuid)

    def is_another_instance(self, found: Identity) -> bool:
        """Whether `found` is another database under the same name, as far as both are known."""
        return _differ(self.instance_start_time, found.instance_start_time)

    def completed_by(self, found: Identity) -> Identity:
        """This identity, with what `found` knows beside or instead of it."""
        return Identity(
            found.server_uuid or self.server_uuid, found.instance_start_time or self.instance_start_time
        )


class _Vendor(msgspec.Struct):
    name: str = ""


class _Welcome(msgspec.Struct):
    couchdb: str = ""
    version: str = ""
    uuid: str | None = None
    vendor: _Vendor = msgspec.field(default_factory=_Vendor)


class _Information(msgspec.Struct):
    instance_start_time: str | None = None


def identity(welcome: bytes, information: bytes) -> Identity:
    """Return what the answers to `GET /` and `GET /{db}` tell; nothing where they are not CouchDB's."""
    try:
        server = msgspec.json.decode(welcome, type=_Welcome)
        database = msgspec.json.decode(information, type=_Information)
    except (msgspec.DecodeError, RecursionError):
        return Identity()
    born = database.instance_start_time if _tells_creation(server) else None
    return Identity(_told(server.uuid), None if born == NOT_TOLD else _told(born))


def is_header_value(text: str) -> bool:
    """Whether a text can travel as the value of an HTTP header as it is: one line of printable ASCII."""
    return text.isascii() and text.isprintable() and text == text.strip()


def _told(text: str | None) -> str | None:
    return text if text and is_header_value(text) else None


def _tells_creation(server: _Welcome) -> bool:
    if server.vendor.name == EMBEDDED:
        return True
    found = re.match(r"(\d{1,9})\.(\d{1,9})", server.version)
    return (
        "Apache" in server.vendor.name
        and bool(server.couchdb)
        and found is not None
        and (int(found[1]), int(found[2])) >= TELLS_CREATION
    )


def _differ(known: str | None, found: str | None) -> bool:
    return known is not None and found is not None and known != found
