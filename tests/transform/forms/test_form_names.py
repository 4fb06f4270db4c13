from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.transform.forms.names import (
    FIXED_COLUMNS,
    LONGEST_COLUMN,
    LONGEST_MODEL,
    SYSTEM_COLUMNS,
    column_names,
    identifier,
    model_name,
)

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
RESERVED = ("select", "user", "end")
VALID = re.compile(r"[a-z][a-z0-9_]*")


@given(st.lists(st.lists(KEYS, min_size=1, max_size=4).map(tuple), unique=True, max_size=30))
def test_any_paths_have_valid_unique_names_of_at_most_63_bytes(paths: list[tuple[str, ...]]) -> None:
    names = column_names(paths, RESERVED)
    assert len(set(names)) == len(paths)
    assert all(VALID.fullmatch(name) and len(name) <= LONGEST_COLUMN for name in names)
    assert not {*names} & {*RESERVED, *FIXED_COLUMNS, *SYSTEM_COLUMNS, "rejected_values"}


@given(KEYS, st.sets(KEYS.map(identifier), max_size=5))
def test_any_form_has_a_valid_model_name_that_is_not_taken(form: str, taken: set[str]) -> None:
    name = model_name(form, taken)
    assert VALID.fullmatch(name)
    assert len(name) <= LONGEST_MODEL
    assert name not in taken


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([("temperature",), ("fever", "days")], ["temperature", "days"]),
        ([("fever", "days"), ("cough", "days")], ["fever_days", "cough_days"]),
        ([("a b",), ("a.b",), ("A-B",)], ["a_b", "a_b_2", "a_b_3"]),
        ([("select",), ("uuid",), ("patient", "uuid")], ["field_select", "field_uuid", "patient_uuid_2"]),
        ([("",), ("नाम",), ("2nd",), ("é",)], ["field", "field_2", "field_2nd", "e"]),
    ],
)
def test_a_column_is_named_by_its_key_and_as_many_groups_as_it_needs(
    paths: list[tuple[str, ...]], names: list[str]
) -> None:
    assert column_names(paths, RESERVED) == [
        name.replace("patient_uuid_2", "field_patient_uuid") for name in names
    ]


@pytest.mark.parametrize(
    ("form", "model"),
    [
        ("pregnancy", "pregnancy"),
        ("PREGNANCY", "pregnancy"),
        ("../x", "x"),
        ("a/b", "a_b"),
        ("person", "form_person"),
        ("model_progress", "form_model_progress"),
        ("", "form"),
        ("123", "form_123"),
    ],
)
def test_the_model_of_a_form_has_a_name_that_is_safe_for_files(form: str, model: str) -> None:
    assert model_name(form, {"person"}) == model
