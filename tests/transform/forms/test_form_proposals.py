"""From any reports to a table: what is proposed is written, run by dbt, and holds what an oracle says."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import yaml
from dbt.clients.jinja import get_rendered
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg2 import sql

from cht_sync.transform.forms.files import yaml_text
from cht_sync.transform.forms.models import models_of
from cht_sync.transform.forms.proposal import Column, Proposal, propose
from cht_sync.transform.forms.reading import Sample, fields_of, relations, reserved_words
from cht_sync.transform.forms.writing import write

from ..warehouse import Warehouse
from .project import Project, project_of, report

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NASTY = (
    "{{ 1/0 }}", "{% raw %}", "{# no #}", "}}", "'; drop table x; --", '"', "\\", "a.b", "", " ", "select",
    "rejected_values", "%s", "%(a)s", "yes", "null", "1", "é", "नाम", "😀", "a\nb", "a\n", "\t", "\u2028",
    "{{ '{{' }}", "$1", ":x", "--", "/*", "ctid", "patient_id", "source", "{", "\x7f", "\U000e0001", "#}",
    "- a", "uuid", "\ufeff", "*a",
)  # fmt: skip
KEYS = st.sampled_from(NASTY) | st.text(CHARACTERS, max_size=8)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.decimals(-1000, 1000, places=3).map(float),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(date.isoformat),
    st.datetimes(datetime(2000, 1, 2), datetime(2090, 1, 1)).map(lambda one: one.isoformat() + "Z"),
    st.sampled_from(["yes", "no", "12", "3.50", "", "2023-02-29", "1544031155715"]),
    st.text(CHARACTERS, max_size=12),
    st.lists(st.integers(), max_size=2),
)
FIELDS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=5),
    lambda inner: st.dictionaries(KEYS, VALUES | inner, max_size=4),
    max_leaves=12,
)
REPORTS = st.lists(FIELDS, min_size=1, max_size=3)
FORMS = st.dictionaries(KEYS.filter(bool), REPORTS, min_size=6, max_size=10)


def at(fields: Any, path: tuple[str, ...]) -> Any:
    """What PostgreSQL finds at a path; in arrays a key may be a position."""
    for key in path:
        if isinstance(fields, dict):
            fields = fields.get(key)
        elif isinstance(fields, list) and re.fullmatch("[0-9]{1,5}", key) and int(key) < len(fields):
            fields = fields[int(key)]
        else:
            return None
    return fields


def read(value: Any, data_type: str) -> Any:  # noqa: PLR0911 (one for each type)
    """The value that the table must hold."""
    if value is None or value == "" or data_type == "jsonb":
        return None if value == "" else value
    text = value if isinstance(value, str) else json.dumps(value)
    match data_type:
        case "boolean":
            return text.lower() in ("true", "yes")
        case "integer":
            return int(text)
        case "numeric":
            return Decimal(text)
        case "date":
            return date(*(int(part) for part in re.split("[-/]", text)))
        case "timestamptz" if text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        case "timestamptz":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        case _:
            return text


def same(found: Any, value: Any, data_type: str) -> bool:
    expected = read(value, data_type)
    if data_type == "text" and isinstance(value, float | dict | list):
        return found is not None  # written as PostgreSQL writes JSON
    return bool(found == expected)


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.large_base_example,
    ],
)
@given(forms=FORMS)
def test_any_reports_become_a_table_that_holds_them(
    warehouse: Warehouse, tmp_path_factory: Any, forms: dict[str, list[Any]]
) -> None:
    project = project_of(warehouse, tmp_path_factory.mktemp("package"))
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute("truncate v1.medic")
    written: list[tuple[str, Proposal]] = []
    for number, (form, reports) in enumerate(forms.items()):
        for place, fields in enumerate(reports):
            warehouse.put(f"{number}-{place}", report(form, fields))
    with closing(
        psycopg2.connect(warehouse.connection.dsn, password=warehouse.connection.info.password)
    ) as reader:
        for form in forms:
            proposal = propose(
                form, fields_of(reader, "v1", form, Sample()), reserved_words(reader), everything=True
            )
            taken = relations(reader, warehouse.options.schema)
            written.append((write(proposal, models_of(project.folder), taken).model, proposal))
    known = models_of(project.folder).forms
    assert known == {proposal.form: model for model, proposal in written}

    outcome = project.dbt().run(full_refresh=True)
    assert outcome.succeeded, outcome.failures
    try:
        for number, (model, proposal) in enumerate(written):
            for place, fields in enumerate(forms[proposal.form]):
                holds(project, model, f"{number}-{place}", proposal.columns, fields)
        assert project.rejected() == []
    finally:
        with warehouse.connection, warehouse.connection.cursor() as cursor:
            for model, _proposal in written:
                cursor.execute(
                    sql.SQL("drop table {}").format(sql.Identifier(warehouse.options.schema, model))
                )


def holds(project: Project, model: str, uuid: str, columns: tuple[Column, ...], fields: Any) -> None:
    query = sql.SQL("select {} from {} where uuid = %s").format(
        sql.SQL(", ").join([sql.Identifier("uuid"), *(sql.Identifier(one.name) for one in columns)]),
        sql.Identifier(project.warehouse.options.schema, model),
    )
    with project.warehouse.connection, project.warehouse.connection.cursor() as cursor:
        cursor.execute(query, (uuid,))
        ((_uuid, *values),) = cursor.fetchall()
    for column, value in zip(columns, values, strict=True):
        assert same(value, at(fields, column.path[1:]), column.data_type), (column, value)


@given(st.lists(st.lists(KEYS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=6, unique=True), KEYS)
def test_what_dbt_reads_of_a_file_is_what_was_proposed(paths: list[tuple[str, ...]], form: str) -> None:
    columns = tuple(
        Column(f"c{number}", ("fields", *path), "text", 1, {}, 0.0, (), "")
        for number, path in enumerate(paths)
    )
    text = yaml_text("m", Proposal(form, 1, columns, (), (), ()))
    (model,) = yaml.safe_load(text)["models"]
    code = model.get("config", {}).get("meta", {}).get("form", "m")
    assert get_rendered(code, {}, native=True) == form
    assert get_rendered(model["description"], {}) == f"Reports of the form {form}."
    own = [one for one in model["columns"] if "data_type" in one]
    for one, path in zip(own, paths, strict=True):
        given_path = one.get("config", {}).get("meta", {}).get("path", ["fields", one["name"]])
        keys = given_path.split(".") if isinstance(given_path, str) else given_path
        assert [get_rendered(key, {}, native=True) for key in keys] == ["fields", *path]
        assert get_rendered(one["description"], {}).startswith(f"The field {path[-1]}")


def test_what_the_sample_did_not_show_goes_to_rejected_values(fresh: Warehouse, tmp_path: Path) -> None:
    project = project_of(fresh, tmp_path)
    fresh.put("first", report("visit", {"count": "1"}))
    proposal = propose("visit", fields_of(fresh.connection, "v1", "visit", Sample()), ())
    write(proposal, models_of(project.folder), ())
    fresh.put("later", report("visit", {"count": "many"}))
    project.run()
    assert fresh.row("visit", "later")["count"] is None
    assert project.rejected() == [("later", "visit", "count", "many")]
