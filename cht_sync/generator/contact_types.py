"""The contact types of a deployment that configured its own, and the settings that define them."""

from __future__ import annotations

from cht_sync.generator.hierarchy import CONFIGURED_TYPES, Role
from cht_sync.generator.origin import Document

COUNTY = CONFIGURED_TYPES[Role.DISTRICT_HOSPITAL]
AREA = CONFIGURED_TYPES[Role.HEALTH_CENTER]
HOUSEHOLD = CONFIGURED_TYPES[Role.CLINIC]


def settings_of_cht() -> Document:
    """Return the document "settings", as far as it defines contact types."""
    types: list[Document] = [
        {"id": COUNTY, "parents": []},
        {"id": AREA, "parents": [COUNTY]},
        {"id": HOUSEHOLD, "parents": [AREA]},
        {"id": CONFIGURED_TYPES[Role.HEALTH_WORKER], "parents": [COUNTY, AREA], "person": True},
        {"id": CONFIGURED_TYPES[Role.MEMBER], "parents": [HOUSEHOLD], "person": True},
    ]
    return {"_id": "settings", "settings": {"contact_types": types}}
