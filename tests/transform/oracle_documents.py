"""Documents for the oracle: those of the generator, at any id, with anything inside spoiled."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import strategies as st

from cht_sync.generator.origin import Origin
from cht_sync.generator.plan import document

ORIGIN = Origin(seed=20)
LONG = "".join(random.Random(12).choices("abcdefghijklmnopqrstuvwxyz0123456789é", k=12_000))
"""So long, and so hard to compress, that no index takes it."""
REALISTIC = [document(ORIGIN, index) for index in (*range(14), 21, 22)]
IDS = [str(doc["_id"]) for doc in REALISTIC]
SETTINGS = "settings"
NAMED = {
    SETTINGS: {
        "settings": {
            "contact_types": [
                {"id": "person", "person": True},
                {"id": "household", "parents": ["clinic"]},
                {"id": "nurse", "parents": ["health_center"], "person": True},
            ]
        }
    },
    "org.couchdb.user:ada": {"type": "user", "name": "ada", "roles": ["chw"], "facility_id": IDS[2]},
    f"{IDS[5]}-info": {"type": "info", "doc_id": IDS[5], "initial_replication_date": 1544031155715},
    "telemetry-2024-3-5-ada-device": {
        "type": "telemetry",
        "metadata": {"year": 2024, "month": 3, "day": 5, "user": "ada", "versions": {"app": "4.2.1"}},
        "metrics": {"boot_time": {"min": 1, "max": 5.5, "count": 2, "sum": 6.5}},
        "dbInfo": {"doc_count": 100},
        "device": {"userAgent": "Mozilla/5.0", "deviceInfo": {"software": {"androidVersion": "12"}}},
    },
    "feedback-2024-03-05-x": {
        "type": "feedback",
        "meta": {"time": "2024-03-05T10:00:00.000Z", "user": {"name": "ada"}, "url": "/#/reports"},
        "info": {"message": "broken", "cause": "error"},
    },
    "task-1": {"type": "task", "state": "Ready", "owner": IDS[5]},
}
CONTACTS = [
    {"type": "contact", "contact_type": "nurse", "name": "Nyah", "patient_id": "77"},
    {"type": "contact", "contact_type": "household", "name": "Home"},
    {"type": "contact"},
    {"type": "user-settings", "name": "ada", "contact_id": IDS[3], "language": "en"},
]
BY_ID: dict[str, Any] = {**{str(doc["_id"]): doc for doc in REALISTIC}, **NAMED}
ALL_IDS = list(BY_ID)
PLACES = IDS[:5]
"""The top of the hierarchy: two places with the people who work there, and a household."""
NAMES: dict[str, st.SearchStrategy[Any]] = {"name": st.sampled_from(["Lake", "Hill", "Valley", "", None])}
OF_PLACES: dict[str, st.SearchStrategy[Any]] = {
    "parent": st.sampled_from([*IDS[:5], "gone"]).map(lambda above: {"_id": above}),
    "type": st.sampled_from(["clinic", "contact", "person", "data_record"]),
    "contact_type": st.sampled_from(["household", "nurse"]),
}
SHAPES: list[Any] = [*REALISTIC, *NAMED.values(), *CONTACTS]
JUNK: list[Any] = [
    *(
        None,
        "",
        " ",
        "x",
        "a" * 3000,
        'it\'s \\ "quoted"',
        True,
        False,
        "yes",
        "NO",
        [],
        {},
        [1, "a"],
        {"_id": IDS[0]},
    ),
    *(0, -1, 3.5, 10**30, -(10**17), "1e400", "NaN", "Infinity", "١٢", " 12 ", "99999999999999999999"),
    *("2001-02-03", "2001/2/3", "2001-02-30", "0000-00-00", "2024-02-29T10:00:00.5Z", "99999-01-01"),
    *(1544031155715, "1544031155715"),
    *(f"2020-01-01T10:00:00.{'1' * 200}Z", f"0.{'0' * 400}1", f"12.{'0' * 20_000}", "9" * 200, "1e-999"),
    LONG,
]
NO_OBJECTS: list[Any] = [None, [], "text", 7, True, {}]


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything inside a value but itself."""
    inside = list(value.items()) if isinstance(value, dict) else []
    return [path for key, item in inside for path in ((*above, key), *paths(item, (*above, key)))]


def spoiled(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    return changed


@st.composite
def documents(draw: st.DrawFn, doc_id: str) -> Any:
    """What the document of that id may be: often with another parent or spoiled."""
    own = BY_ID[doc_id]
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(NO_OBJECTS))
    doc: Any = own if kind < 6 else draw(st.sampled_from(SHAPES))
    if draw(st.integers(0, 2)) == 0:
        # Up, down, to itself or to nobody: hierarchies of the field have circles and gaps.
        doc = {**doc, "parent": {"_id": draw(st.sampled_from([*IDS[:8], "gone"]))}}
    for _ in range(draw(st.integers(0, 2))):
        doc = spoiled(doc, draw(st.sampled_from(paths(doc))), draw(st.sampled_from(JUNK)))
        if not isinstance(doc, dict) or not paths(doc):
            break
    return {**doc, "_id": doc_id}
