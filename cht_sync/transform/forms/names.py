"""Names for columns and models: valid in SQL without quotes, unique, and of at most 63 bytes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

LONGEST_COLUMN = 63
LONGEST_MODEL = 46
"""dbt adds suffixes to a table's name while it builds it."""

FIXED_COLUMNS = (
    "uuid",
    "source",
    "saved_timestamp",
    "reported",
    "contact_uuid",
    "patient_id",
    "patient_uuid",
)
"""What every form's table has (`columns_of_every_form` in `macros/forms.sql`)."""
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid")
INTERNAL_COLUMNS = ("rejected_values",)
INTERNAL_TABLES = (
    "model_progress",
    "form_definitions",
    "dbt_runs",
    "dbt_model_results",
    "dbt_results",
    "dbt_state",
)
"""They are beside the models, or will be after the first run."""


def column_names(paths: Sequence[tuple[str, ...]], reserved: Collection[str]) -> list[str]:
    """Return a name for each path: its last key, with as many groups before it as make it unique.

    `reserved` are words that cannot be names; nor can the columns that every table has.
    """
    forbidden = {*reserved, *FIXED_COLUMNS, *SYSTEM_COLUMNS, *INTERNAL_COLUMNS}
    taken_keys = [1] * len(paths)
    while True:
        names = [identifier("_".join(path[-keys:])) for path, keys in zip(paths, taken_keys, strict=True)]
        counts = Counter(names)
        unclear = [
            place
            for place, (path, name) in enumerate(zip(paths, names, strict=True))
            if (counts[name] > 1 or name in forbidden) and taken_keys[place] < len(path)
        ]
        if not unclear:
            break
        for place in unclear:
            taken_keys[place] += 1
    used = set(forbidden)
    return [
        _unused(name if name not in forbidden else f"field_{name}", used, LONGEST_COLUMN) for name in names
    ]


def model_name(form: str, taken: Collection[str]) -> str:
    """Return a name for the model of a form that is none of `taken`."""
    name = identifier(form, otherwise="form", longest=LONGEST_MODEL)
    used = {*taken, *INTERNAL_TABLES}
    return _unused(name if name not in used else f"form_{name}", used, LONGEST_MODEL)


def identifier(text: str, *, otherwise: str = "field", longest: int = LONGEST_COLUMN) -> str:
    """Return a text in small letters, digits and underscores; `otherwise` where nothing of it is left.

    >>> identifier("Date de naissance"), identifier("instanceID"), identifier("2nd"), identifier("नाम")
    ('date_de_naissance', 'instance_id', 'field_2nd', 'field')
    """
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
    name = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    if not name or not name[0].isalpha():
        name = f"{otherwise}_{name}".rstrip("_")
    return name[:longest].rstrip("_")


def _unused(name: str, used: set[str], longest: int) -> str:
    candidate, number = name[:longest], 1
    while candidate in used:
        number += 1
        suffix = f"_{number}"
        candidate = name[: longest - len(suffix)] + suffix
    used.add(candidate)
    return candidate
