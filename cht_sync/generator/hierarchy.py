"""The CHT's default hierarchy: district_hospital > health_center > clinic > person.

The sequence of documents walks through the tree, parents first. One district holds::

    district_hospital, its supervisor, the settings of that user,
      10 x health_center, its community health worker, the settings of that user,
             20 x clinic (a household), 4 persons, 12 reports

With configured types a contact is of type "contact", and its contact_type says what it is.

Contacts carry the minified lineage that the CHT stores since 3.0: `parent` is
`{"_id": ..., "parent": {"_id": ..., ...}}`, ids only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache

from cht_sync.generator import names
from cht_sync.generator.origin import Document, Origin

PERSONS_OF_HOUSEHOLD = 4
REPORTS_OF_HOUSEHOLD = 12
HOUSEHOLD = 1 + PERSONS_OF_HOUSEHOLD + REPORTS_OF_HOUSEHOLD
HOUSEHOLDS_OF_HEALTH_CENTER = 20
HEAD = 3
"""A district and a health center begin with the place, who works there, and that user's settings."""
HEALTH_CENTER = HEAD + HOUSEHOLDS_OF_HEALTH_CENTER * HOUSEHOLD
HEALTH_CENTERS_OF_DISTRICT = 10
DISTRICT = HEAD + HEALTH_CENTERS_OF_DISTRICT * HEALTH_CENTER

REGISTRATION_DAYS = 60
"""Everybody is registered within so many days after the base date."""


class Role(StrEnum):
    """What a document is in its place of the tree."""

    DISTRICT_HOSPITAL = "district_hospital"
    HEALTH_CENTER = "health_center"
    CLINIC = "clinic"
    SUPERVISOR = "supervisor"
    HEALTH_WORKER = "chw"
    USER = "user"
    MEMBER = "member"
    REPORT = "report"


PLACES = frozenset({Role.DISTRICT_HOSPITAL, Role.HEALTH_CENTER, Role.CLINIC})
CONFIGURED_TYPES = {
    Role.DISTRICT_HOSPITAL: "county",
    Role.HEALTH_CENTER: "health_area",
    Role.CLINIC: "household",
    Role.SUPERVISOR: "health_worker",
    Role.HEALTH_WORKER: "health_worker",
    Role.MEMBER: "household_member",
}
"""The contact_type of each role, where types are configured."""


@dataclass(frozen=True)
class Spot:
    """Where an index lies in the tree.

    `parents` are the indexes of the places above, the nearest first. `number` counts from 0 among
    its equals: a place below its parent, a person or a report in its household.
    """

    index: int
    role: Role
    parents: tuple[int, ...]
    number: int = 0

    @property
    def is_contact(self) -> bool:
        """Whether this is the person that a place names as its contact."""
        first_member = self.role is Role.MEMBER and self.number == 0
        return first_member or self.role in {Role.SUPERVISOR, Role.HEALTH_WORKER}

    @property
    def is_deletable(self) -> bool:
        """Whether nothing of the tree would hang in the air without this document."""
        return self.role not in PLACES and self.role is not Role.USER and not self.is_contact


def locate(index: int) -> Spot:  # noqa: PLR0911 (one for each role)
    """Return the spot of a document in the endless sequence of districts."""
    number, offset = divmod(index, DISTRICT)
    district = index - offset
    if offset == 0:
        return Spot(index, Role.DISTRICT_HOSPITAL, (), number)
    if offset == 1:
        return Spot(index, Role.SUPERVISOR, (district,))
    if offset == 2:
        return Spot(index, Role.USER, (district,))
    number, offset = divmod(offset - HEAD, HEALTH_CENTER)
    center = index - offset
    if offset == 0:
        return Spot(index, Role.HEALTH_CENTER, (district,), number)
    if offset == 1:
        return Spot(index, Role.HEALTH_WORKER, (center, district))
    if offset == 2:
        return Spot(index, Role.USER, (center, district))
    number, offset = divmod(offset - HEAD, HOUSEHOLD)
    household = index - offset
    if offset == 0:
        return Spot(index, Role.CLINIC, (center, district), number)
    parents = (household, center, district)
    if offset <= PERSONS_OF_HOUSEHOLD:
        return Spot(index, Role.MEMBER, parents, offset - 1)
    return Spot(index, Role.REPORT, parents, offset - 1 - PERSONS_OF_HOUSEHOLD)


def member(household: int, number: int) -> int:
    """Return the index of a household's person; 0 and 1 are women, 2 a child, 3 an infant."""
    return household + 1 + number


def contact_of(place: int) -> int:
    """Return the index of the person that a place names as its contact: always the next document."""
    return place + 1


def user_name(origin: Origin, place: int) -> str:
    """Return the name that the one who works at a place logs in with."""
    return f"chw_{origin.document_id(place)[:8]}"


def lineage(origin: Origin, indexes: tuple[int, ...]) -> Document | str:
    """Return the minified chain of contacts; the CHT writes an empty text where there is none."""
    if not indexes:
        return ""
    first, *rest = indexes
    link: Document = {"_id": origin.document_id(first)}
    if rest:
        link["parent"] = lineage(origin, tuple(rest))
    return link


@dataclass(frozen=True)
class Person:
    """What reports need to know of a person; `registered` is in days after the base date."""

    name: str
    sex: str
    born: date
    phone: str
    patient_id: str
    registered: float


@lru_cache(maxsize=4096)
def person(origin: Origin, index: int) -> Person:
    """Return the person of an index."""
    spot = locate(index)
    source = origin.random("person", index)
    family = origin.random("family", spot.parents[0]).choice(names.FAMILIES)
    if spot.role is Role.MEMBER:
        sex = "female" if spot.number < 2 else source.choice(("female", "male"))
        days_old = source.randrange(
            *((18 * 365, 38 * 365), (18 * 365, 38 * 365), (400, 1800), (0, 300))[spot.number]
        )
    else:
        sex = source.choice(("female", "male"))
        days_old = source.randrange(25 * 365, 60 * 365)
    return Person(
        name=f"{names.given_name(source, sex)} {family}",
        sex=sex,
        born=origin.base_date - timedelta(days=days_old),
        phone=names.phone(source),
        patient_id=str(10_000 + index),
        registered=source.random() * REGISTRATION_DAYS,
    )


def type_of(origin: Origin, spot: Spot) -> Document:
    """Return the fields that say what a contact is."""
    if origin.configured_types:
        return {"type": "contact", "contact_type": CONFIGURED_TYPES[spot.role]}
    return {"type": str(spot.role) if spot.role in PLACES else "person"}


def person_document(origin: Origin, spot: Spot) -> Document:
    """Return the document of a person."""
    who = person(origin, spot.index)
    # A place's contact is registered with the place, by the one who looks after it.
    keeper = spot.parents[min(1, len(spot.parents) - 1)]
    return {
        "_id": origin.document_id(spot.index),
        **type_of(origin, spot),
        "name": who.name,
        "short_name": who.name.split()[0],
        "date_of_birth": who.born.isoformat(),
        "date_of_birth_method": "calendar",
        "ephemeral_dob": {"dob_calendar": who.born.isoformat(), "dob_iso": who.born.isoformat()},
        "sex": who.sex,
        "phone": who.phone if _is_adult(spot) else "",
        "phone_alternate": "",
        "role": _role_name(spot),
        "external_id": "",
        "notes": "",
        "patient_id": who.patient_id,
        "parent": lineage(origin, spot.parents),
        "meta": {
            "created_by": user_name(origin, keeper),
            "created_by_person_uuid": origin.document_id(contact_of(keeper)),
            "created_by_place_uuid": origin.document_id(keeper),
        },
        "reported_date": origin.moment(who.registered),
    }


def place_document(origin: Origin, spot: Spot) -> Document:
    """Return the document of a place."""
    contact = contact_of(spot.index)
    if spot.role is Role.CLINIC:
        name = f"{person(origin, contact).name} Family"
    else:
        label = "District" if spot.role is Role.DISTRICT_HOSPITAL else "Health Area"
        name = f"{origin.random('place', spot.index).choice(names.PLACES)} {label} {spot.number + 1}"
    return {
        "_id": origin.document_id(spot.index),
        **type_of(origin, spot),
        "name": name,
        "place_id": str(10_000 + spot.index),
        "external_id": "",
        "notes": "",
        "geolocation": "",
        "is_name_generated": "false",
        "contact": lineage(origin, (contact, spot.index, *spot.parents)),
        "parent": lineage(origin, spot.parents),
        "reported_date": origin.moment(person(origin, contact).registered),
    }


def _is_adult(spot: Spot) -> bool:
    return spot.role is not Role.MEMBER or spot.number < 2


def _role_name(spot: Spot) -> str:
    if spot.role is not Role.MEMBER:
        return str(spot.role)
    return "family_member" if spot.is_contact else "patient"
