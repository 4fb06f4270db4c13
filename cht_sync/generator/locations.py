"""Where reports are written: near their household, as the phone says it.

The CHT asks the phone when a report is saved. What it answered, a position or an error, is the report's
`geolocation` and the last entry of its `geolocation_log`.

Everything lies in the Gulf of Guinea, where nobody lives, so no point on a map is somebody's home.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from random import Random

from cht_sync.generator.hierarchy import Role, Spot, locate
from cht_sync.generator.origin import Document, Origin

SOUTH_WEST = (-4.0, -6.0)
"""The corner of the first district, in degrees (latitude, longitude); all others lie north and east of it."""
DISTRICTS = 17 * 17
"""So many lie beside each other, in a square; the next ones begin again in the corner."""
DISTRICT = (0.45, 0.55)
AREA = 0.12
"""Degrees from one district, and from one health area, to the next."""
COLUMNS = 4
"""A district's health areas lie in rows of so many."""
HOUSEHOLDS_WITHIN = 0.05
"""Degrees from the middle of a health area to its farthest household."""
METRES_OF_DEGREE = 111_000

WITHOUT = 0.15
"""The share of reports from devices that were never asked."""
REFUSED = 0.05
ERRORS = (
    (1, "User denied Geolocation"),
    (-1, "Geolocation not yet acquired"),
    (-2, "Geolocation timeout exceeded"),
)


def location_fields(origin: Origin, spot: Spot, reported: int) -> Document:
    """Return the fields of a report that say where it was written; `reported` is in milliseconds."""
    source = origin.random("location", spot.index)
    chance = source.random()
    if chance < WITHOUT:
        return {"geolocation_log": []}
    answer = _error(source) if chance < WITHOUT + REFUSED else _position(origin, spot, source)
    return {"geolocation": answer, "geolocation_log": [{"timestamp": reported, "recording": answer}]}


@lru_cache(maxsize=4096)
def coordinates(origin: Origin, place: int) -> tuple[float, float]:
    """Return latitude and longitude of a place."""
    spot = locate(place)
    source = origin.random("coordinates", place)
    if spot.role is Role.DISTRICT_HOSPITAL:
        row, column = _square(spot.number % DISTRICTS)
        return (
            SOUTH_WEST[0] + DISTRICT[0] * row + _about(source, 0.03),
            SOUTH_WEST[1] + DISTRICT[1] * column + _about(source, 0.03),
        )
    latitude, longitude = coordinates(origin, spot.parents[0])
    if spot.role is Role.HEALTH_CENTER:
        north, east = (number + _about(source, 0.2) for number in divmod(spot.number, COLUMNS))
        return latitude + AREA * north, longitude + AREA * east
    return latitude + _about(source, HOUSEHOLDS_WITHIN), longitude + _about(source, HOUSEHOLDS_WITHIN)


def _square(number: int) -> tuple[int, int]:
    """Return row and column of a number such that the first of them always fill a square."""
    side = isqrt(number)
    beyond = number - side * side
    return (beyond, side) if beyond <= side else (side, beyond - side - 1)


def _position(origin: Origin, spot: Spot, source: Random) -> Document:
    accuracy = round(source.triangular(4, 60, 8), 3)
    latitude, longitude = (
        round(degrees + _about(source, accuracy / METRES_OF_DEGREE), 7)
        for degrees in coordinates(origin, spot.parents[0])
    )
    has_altitude = source.random() < 0.7
    return {
        "latitude": latitude,
        "longitude": longitude,
        "altitude": round(source.uniform(0, 30), 1) if has_altitude else None,
        "accuracy": accuracy,
        "altitudeAccuracy": round(accuracy * 1.5, 1) if has_altitude else None,
        "heading": None,
        "speed": 0 if source.random() < 0.3 else None,
    }


def _error(source: Random) -> Document:
    code, message = source.choice(ERRORS)
    return {"code": code, "message": message}


def _about(source: Random, most: float) -> float:
    return source.triangular(-most, most)
