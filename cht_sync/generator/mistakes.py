"""Values that cannot be what they should be, in a few documents: people mistype, and apps have errors."""

from __future__ import annotations

from cht_sync.generator.origin import Document

EVERY = 97
"""One document of so many has a mistake."""
NO_DATE = "31/02/2024"
NO_NUMBER = "twenty-five"
DATES = ("date_of_birth", "lmp_date_8601", "birth_date")


def with_mistake(document: Document, index: int) -> Document:
    """Return the document, one of `EVERY` with a date that no calendar has or a number in words."""
    if index % EVERY != EVERY - 1:
        return document
    holder = document["fields"] if document["type"] == "data_record" else document
    if "patient_age_in_years" in holder:
        holder["patient_age_in_years"] = NO_NUMBER
    for name in DATES:
        if name in holder:
            holder[name] = NO_DATE
    return document
