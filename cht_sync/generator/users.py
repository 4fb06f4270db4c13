"""The users of the CHT: one for each health center and district, and what CouchDB keeps of them.

`user-settings` are in the CHT's database, `user` in `_users`, both under the same id. Nobody can log in:
there is no password.
"""

from __future__ import annotations

from cht_sync.generator.hierarchy import (
    DISTRICT,
    HEAD,
    HEALTH_CENTER,
    HEALTH_CENTERS_OF_DISTRICT,
    Spot,
    contact_of,
    locate,
    person,
    user_name,
)
from cht_sync.generator.origin import Document, Origin

USERS_OF_DISTRICT = 1 + HEALTH_CENTERS_OF_DISTRICT
LANGUAGES = ("en", "sw", "fr", "ne")


def index_of_user(number: int) -> int:
    """Return where in the CHT's database the settings of a user are; users are counted from 0."""
    district, within = divmod(number, USERS_OF_DISTRICT)
    center = HEAD + (within - 1) * HEALTH_CENTER if within else 0
    return district * DISTRICT + center + HEAD - 1


def users_among(docs: int) -> int:
    """Return how many users there are among the first documents of the CHT's database."""
    districts, rest = divmod(docs, DISTRICT)
    started = sum(index_of_user(number) < rest for number in range(USERS_OF_DISTRICT))
    return districts * USERS_OF_DISTRICT + started


def user_id(origin: Origin, spot: Spot) -> str:
    """Return the id of a user's documents."""
    return f"org.couchdb.user:{user_name(origin, spot.parents[0])}"


def settings_document(origin: Origin, spot: Spot) -> Document:
    """Return a document of type user-settings."""
    place = spot.parents[0]
    who = person(origin, contact_of(place))
    return {
        **_common(origin, spot),
        "type": "user-settings",
        "fullname": who.name,
        "phone": who.phone,
        "language": origin.random("language", spot.index).choice(LANGUAGES),
        "known": True,
    }


def user_document(origin: Origin, number: int) -> Document:
    """Return a user's document for `_users`."""
    return {**_common(origin, locate(index_of_user(number))), "type": "user"}


def _common(origin: Origin, spot: Spot) -> Document:
    place = spot.parents[0]
    return {
        "_id": user_id(origin, spot),
        "name": user_name(origin, place),
        "roles": ["chw" if len(spot.parents) > 1 else "chw_supervisor"],
        "facility_id": origin.document_id(place),
        "contact_id": origin.document_id(contact_of(place)),
    }
