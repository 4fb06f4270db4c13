"""What the app writes of itself into users-meta: telemetry, a document a day, and feedback.

Each user has `DAYS` days of telemetry, then `FEEDBACK` documents of feedback; users come one after another.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from random import Random

from cht_sync.generator.hierarchy import REGISTRATION_DAYS, locate, user_name
from cht_sync.generator.origin import Document, Origin
from cht_sync.generator.users import index_of_user

DAYS = 30
FEEDBACK = 2
DOCUMENTS_OF_USER = DAYS + FEEDBACK
DEVICES = (("samsung", "SM-A136U", "13"), ("TECNO", "TECNO KG5", "11"), ("Nokia", "Nokia C21", "12"))
ERRORS = (
    ("automatic", "Failed to fetch"),
    ("automatic", "Cannot read properties of undefined (reading 'parent')"),
    ("manual", "The list of tasks stays empty"),
)
VERSION = "4.10.0"


def meta_id(origin: Origin, number: int) -> str:
    """Return the id of a document of users-meta, as the CHT makes them."""
    user, day = divmod(number, DOCUMENTS_OF_USER)
    name = _name(origin, user)
    if day >= DAYS:
        source = origin.random("feedback id", number)
        return f"feedback-{_time(origin, day)}-{uuid.UUID(int=source.getrandbits(128), version=4)}"
    when = origin.day(REGISTRATION_DAYS + day)
    return f"telemetry-{when.year}-{when.month}-{when.day}-{name}-{_device_id(origin, user)}"


def meta_document(origin: Origin, number: int) -> Document:
    """Return a document of type telemetry or feedback."""
    user, day = divmod(number, DOCUMENTS_OF_USER)
    make = _telemetry if day < DAYS else _feedback
    return {"_id": meta_id(origin, number), **make(origin, user, day, origin.random("meta", number))}


def _telemetry(origin: Origin, user: int, day: int, source: Random) -> Document:
    when = origin.day(REGISTRATION_DAYS + day)
    maker, model, android = DEVICES[user % len(DEVICES)]
    return {
        "type": "telemetry",
        "metadata": {
            "year": when.year,
            "month": when.month,
            "day": when.day,
            "user": _name(origin, user),
            "deviceId": _device_id(origin, user),
            "versions": {"app": VERSION, "forms": {"pregnancy": "1-abc", "delivery": "2-def"}},
        },
        "metrics": {
            "boot_time": _metric(source, 3000, 20000),
            "report-list:load": _metric(source, 80, 2500),
            "search:contacts:types": _metric(source, 50, 900),
        },
        "device": {
            "userAgent": f"Mozilla/5.0 (Linux; Android {android}; {model}) Chrome/120.0 Mobile",
            "hardwareConcurrency": 8,
            "deviceInfo": {
                "app": {"version": "v1.3.0"},
                "hardware": {"manufacturer": maker, "model": model},
                "software": {"androidVersion": android},
                "storage": {"free": source.randrange(10**9, 10**10), "total": 32 * 10**9},
                "network": {
                    "upSpeed": source.randrange(50, 9000),
                    "downSpeed": source.randrange(200, 30000),
                },
            },
        },
        "dbInfo": {"doc_count": source.randrange(300, 3000), "update_seq": source.randrange(3000, 9000)},
    }


def _feedback(origin: Origin, user: int, day: int, source: Random) -> Document:
    kind, message = source.choice(ERRORS)
    return {
        "type": "feedback",
        "meta": {
            "time": _time(origin, day),
            "user": {"name": _name(origin, user), "is_admin": False},
            "url": "https://cht.example.org/#/tasks",
            "app": "medic",
            "version": VERSION,
            "source": kind,
            "language": "en",
            "deviceId": _device_id(origin, user),
            "isOnline": source.random() < 0.5,
        },
        "info": {"message": message, "stack": f"Error: {message}\n    at list"},
        "log": [],
    }


def _metric(source: Random, least: int, most: int) -> Document:
    values = [source.randrange(least, most) for _ in range(source.randrange(1, 5))]
    return {
        "sum": sum(values),
        "min": min(values),
        "max": max(values),
        "count": len(values),
        "sumsqr": sum(value * value for value in values),
    }


def _name(origin: Origin, user: int) -> str:
    return user_name(origin, locate(index_of_user(user)).parents[0])


def _device_id(origin: Origin, user: int) -> str:
    return str(uuid.UUID(int=origin.random("device", user).getrandbits(128), version=4))


def _time(origin: Origin, day: int) -> str:
    moment = origin.moment(REGISTRATION_DAYS + day + 0.4) / 1000
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
