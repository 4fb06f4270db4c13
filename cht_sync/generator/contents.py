"""What belongs into a database, by its name.

    _users               users
    *-sentinel           what Sentinel keeps of each document of the CHT
    *-users-meta         telemetry and feedback
    any other            the CHT's own: contacts, reports, settings of users

All of them tell one story: the documents of one index in the CHT's database decide what the others hold.
Within a database documents are numbered from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cht_sync.generator.hierarchy import DISTRICT, PLACES, Role, locate, person_document, place_document
from cht_sync.generator.mistakes import with_mistake
from cht_sync.generator.origin import Document, Origin
from cht_sync.generator.reports import report_document
from cht_sync.generator.sentinel import info_document
from cht_sync.generator.users import (
    USERS_OF_DISTRICT,
    index_of_user,
    settings_document,
    user_document,
    user_id,
    users_among,
)
from cht_sync.generator.users_meta import DOCUMENTS_OF_USER, meta_document, meta_id


@dataclass(frozen=True)
class Content:
    """The numbered documents of one kind of database.

    `count` says how many there are beside so many documents of the CHT, `share` how many for each of
    them on average. `identify` gives the id of a number, `make` its document.
    """

    count: Callable[[int], int]
    share: float
    identify: Callable[[Origin, int], str]
    make: Callable[[Origin, int], Document]
    deletable: Callable[[int], bool] = lambda _number: True


def content_of(database: str) -> Content:
    """Return what belongs into a database of that name."""
    if database == "_users":
        return USERS
    if database.endswith("sentinel"):
        return SENTINEL
    if database.endswith("users-meta"):
        return USERS_META
    return CHT


def document(origin: Origin, index: int) -> Document:
    """Return the document of an index in the CHT's database, as it is first written."""
    spot = locate(index)
    if spot.role in PLACES:
        return place_document(origin, spot)
    if spot.role is Role.USER:
        return settings_document(origin, spot)
    make = report_document if spot.role is Role.REPORT else person_document
    return with_mistake(make(origin, spot), index)


def _cht_id(origin: Origin, index: int) -> str:
    spot = locate(index)
    return user_id(origin, spot) if spot.role is Role.USER else origin.document_id(index)


def _info(origin: Origin, index: int) -> Document:
    return info_document(origin, index, document(origin, index))


CHT = Content(lambda docs: docs, 1, _cht_id, document, lambda index: locate(index).is_deletable)
SENTINEL = Content(lambda docs: docs, 1, lambda origin, index: f"{_cht_id(origin, index)}-info", _info)
USERS = Content(
    users_among,
    USERS_OF_DISTRICT / DISTRICT,
    lambda origin, number: user_id(origin, locate(index_of_user(number))),
    user_document,
)
USERS_META = Content(
    lambda docs: users_among(docs) * DOCUMENTS_OF_USER,
    USERS.share * DOCUMENTS_OF_USER,
    meta_id,
    meta_document,
)
