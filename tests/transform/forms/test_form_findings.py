"""What is found in reports, and which type is proposed for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cht_sync.transform.forms.fields import Findings
from cht_sync.transform.forms.proposal import MOST_COLUMNS, Proposal, propose


def found(*reports: Any) -> Proposal:
    findings = Findings()
    for one in reports:
        findings.add(json.dumps(one))
    return propose("visit", findings, ())


def types(*values: Any) -> str:
    (column,) = found(*({"x": value} for value in values)).columns
    return column.data_type


@pytest.mark.parametrize(
    ("values", "data_type"),
    [
        (["yes", "no", ""], "boolean"),
        ([True, False, None], "boolean"),
        (["0", "1"], "integer"),
        ([12, "13"], "integer"),
        (["12", "1.5"], "numeric"),
        ([10**30], "numeric"),
        (["2024-02-29", "2024/3/1"], "date"),
        (["2023-02-29"], "text"),
        (["2024-02-29", "2024-02-29T10:00:00Z"], "timestamptz"),
        ([1544031155715], "timestamptz"),
        (["1544031155715", "2024-01-01T10:00"], "timestamptz"),
        (["0712345678"], "text"),
        (["+254712345678"], "text"),
        (["1234567890"], "text"),
        (["12", "twelve"], "text"),
        (["", None], "text"),
        ([[], [{"a": 1}]], "jsonb"),
        ([{}], "jsonb"),
        (["one", ["two"]], "jsonb"),
        (["１２"], "text"),
        (["12\n"], "text"),
    ],
)
def test_the_narrowest_type_that_holds_all_values_is_proposed(values: list[Any], data_type: str) -> None:
    assert types(*values) == data_type


def test_a_column_says_how_often_it_is_empty_what_nearly_fits_and_what_it_held() -> None:
    (column,) = found({"n": "1"}, {"n": "2"}, {"n": "many"}, {"n": ""}, {}).columns
    assert column.name == "n"
    assert column.path == ("fields", "n")
    assert column.values == 3
    assert column.null_share == pytest.approx(0.4)
    assert column.fits == {"integer": pytest.approx(2 / 3), "numeric": pytest.approx(2 / 3)}
    assert column.note == "66.7% would be integer"
    assert column.examples == ("1", "2", "many")


def test_groups_are_descended_into_and_repeats_are_not() -> None:
    proposal = found({"g": {"h": {"a": "x"}}, "repeat": [{"b": 1}, {"b": 2}]})
    assert [(one.path, one.data_type) for one in proposal.columns] == [
        (("fields", "g", "h", "a"), "text"),
        (("fields", "repeat"), "jsonb"),
    ]
    assert proposal.groups == (("g",), ("g", "h"))
    assert proposal.columns[1].note == "a repeat (array)"
    assert proposal.columns[1].examples == ("2 entries",)


def test_a_path_that_is_a_group_in_some_reports_only_is_json_and_its_members_are_columns() -> None:
    proposal = found({"g": {"a": "x"}}, {"g": "none"})
    assert {(one.path, one.data_type) for one in proposal.columns} == {
        (("fields", "g", "a"), "text"),
        (("fields", "g"), "jsonb"),
    }
    assert {one.note for one in proposal.columns} == {"", "a group or a single value, by report"}
    assert proposal.groups == ()


def test_what_is_left_out_is_named() -> None:
    proposal = found({"inputs": {"source": "user"}, "meta": {"instanceID": "u"}, "patient_id": "1", "x": "y"})
    assert [one.path for one in proposal.columns] == [("fields", "x")]
    assert [one.path[1] for one in proposal.left_out] == ["inputs", "meta", "patient_id"]
    assert all(one.reason for one in proposal.left_out)


def test_more_fields_than_a_table_holds_are_left_out_by_name_the_emptiest_first() -> None:
    full = {f"k{number}": "x" for number in range(MOST_COLUMNS)}
    proposal = found({**full, "rare": ""}, full)
    assert len(proposal.columns) == MOST_COLUMNS
    assert [one.path for one in proposal.left_out] == [("fields", "rare")]


def test_reports_without_fields_and_those_nested_without_end_are_counted() -> None:
    findings = Findings()
    for text in (None, "[]", '"x"', "[" * 100_000 + "]" * 100_000, '{"a": 1}'):
        findings.add(text)
    assert (findings.reports, findings.unreadable) == (5, 4)
    assert propose("visit", findings, ()).notes


def test_deep_groups_end_in_one_json_column() -> None:
    deep: dict[str, Any] = {"end": "x"}
    for _ in range(500):
        deep = {"g": deep}
    (column,) = found(deep).columns
    assert column.data_type == "jsonb"
    assert set(column.path[1:]) == {"g"}
