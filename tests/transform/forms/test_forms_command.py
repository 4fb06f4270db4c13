"""`cht-sync forms` as a person types it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from psycopg2 import sql

from cht_sync.cli import main
from cht_sync.generator.reports import FORMS
from cht_sync.settings import declared
from cht_sync.transform.forms.models import models_of

from ..looping import eventually, looping
from ..warehouse import OWN_PACKAGE, Warehouse
from .project import Project, project_of, report

ODD = ("select", "../x", "a/b", "PREGNANCY", "{{ 1/0 }}", "'; drop table x; --", "person", "नाम", "--help me")
FIRST, LAST = 1704067200000, 1717200000000


@dataclass
class Terminal:
    project: Project
    home: Path

    def run(self, *words: str, **changes: str) -> Result:
        options = self.project.warehouse.options
        given = {
            "CHT_SYNC_HOME": str(self.home),
            "POSTGRES_HOST": options.host,
            "POSTGRES_PORT": str(options.port),
            "POSTGRES_DB": options.database,
            "DBT_POSTGRES_USER": options.user,
            "DBT_POSTGRES_PASSWORD": options.password,
            "CHT_PIPELINE_BRANCH_URL": str(self.project.folder),
        }
        unset = {name: None for name in os.environ if name in {one for one, _variable in declared()}}
        return CliRunner().invoke(
            main, ["forms", *words], env=unset | given | changes, prog_name="cht-sync", catch_exceptions=False
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json", "--env", "gamma"))


@pytest.fixture
def terminal(fresh: Warehouse, tmp_path: Path) -> Terminal:
    (tmp_path / "home").mkdir()
    return Terminal(project_of(fresh, tmp_path), tmp_path / "home")


def test_forms_are_listed_with_counts_times_and_models(terminal: Terminal) -> None:
    put = terminal.project.warehouse.put
    put("a", report("visit", {}, reported_date=FIRST))
    put("b", report("visit", {}, reported_date=LAST))
    put("c", report("\x1b[31mred", {}, reported_date="soon"))
    put("message", {"type": "data_record"})
    put("person", {"type": "person", "form": "visit"})
    terminal.project.form("home_visit", "{name: x}", form="visit")

    found = terminal.json()
    assert (found["documents"], found["whole"]) == (5, True)
    assert found["forms"] == [
        {
            "form": "visit",
            "reports": 2,
            "first": "2024-01-01T00:00:00+00:00",
            "last": "2024-06-01T00:00:00+00:00",
            "model": "home_visit",
        },
        {"form": "\x1b[31mred", "reports": 1, "first": None, "last": None, "model": None},
    ]
    shown = terminal.ok("--env", "gamma")
    assert "home_visit" in shown
    assert "2024-06-01" in shown
    assert "Looked at all 5 documents." in shown
    assert "\x1b" not in shown
    assert "Looked at the newest 2 documents." in terminal.ok("--sample", "2", "--env", "gamma")


def test_show_tells_columns_groups_repeats_and_what_is_left_out_and_hides_values_when_asked(
    terminal: Terminal,
) -> None:
    terminal.project.warehouse.put(
        "a", report("visit", {"g": {"name": "Amina"}, "r": [1], "meta": {"id": 1}, "due": "2024-01-01"})
    )
    shown = terminal.ok("show", "visit", "--env", "gamma")
    for text in (
        "fields.g.name",
        "Amina",
        "date",
        "a repeat (array)",
        "group     fields.g",
        "fields.meta.id",
    ):
        assert text in shown
    for words in (("show", "visit", "--no-examples"), ("show", "visit", "--no-examples", "--json")):
        hidden = terminal.ok(*words, "--env", "gamma")
        assert "Amina" not in hidden
        assert "fields" in hidden
    columns = {one["name"]: one for one in terminal.json("show", "visit", "--all")["columns"]}
    assert columns["due"]["type"] == "date"
    assert columns["due"]["examples"] == ["2024-01-01"]
    assert columns["r"]["type"] == "jsonb"
    assert columns["id"]["path"] == ["fields", "meta", "id"]


def test_a_form_that_is_written_is_a_table_at_the_next_run_of_the_loop(terminal: Terminal) -> None:
    warehouse = terminal.project.warehouse
    warehouse.put("a", report("Home Visit", {"due": "2024-01-01", "n": "1"}))
    options = replace(warehouse.options, project=terminal.project.folder, url=str(terminal.project.folder))
    with looping(replace(options, test_interval=0.0)):
        assert eventually(lambda: warehouse.rows("data_record", "a"))
        written = terminal.json("write", "Home Visit")
        assert written["model"] == "home_visit"
        (row,) = eventually(lambda: warehouse.rows("home_visit"))
    assert (row["due"], row["n"]) == ("2024-01-01", 1)
    assert [Path(file).name for file in written["files"]] == ["home_visit.yml", "home_visit.sql"]


def test_no_file_is_replaced_without_force_and_a_form_keeps_its_model(terminal: Terminal) -> None:
    project = terminal.project
    project.warehouse.put("a", report("visit", {"x": "1"}))
    project.form("home_visit", "{name: mine}", form="visit")
    refused = terminal.run("write", "visit", "--env", "gamma")
    assert refused.exit_code == 1
    assert "home_visit.yml" in refused.stderr
    assert "--force" in refused.stderr
    assert "mine" in (project.forms / "home_visit.yml").read_text()
    assert terminal.json("write", "visit", "--force")["model"] == "home_visit"
    assert "mine" not in (project.forms / "home_visit.yml").read_text()


def test_forms_of_any_name_have_safe_files_and_models_of_their_own(
    terminal: Terminal, tmp_path: Path
) -> None:
    project = terminal.project
    with project.warehouse.connection, project.warehouse.connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("create table {}.x ()").format(sql.Identifier(project.warehouse.options.schema))
        )
    for number, form in enumerate(ODD):
        project.warehouse.put(f"odd-{number}", report(form, {"x": form}))
    models = [_write(terminal, form) for form in ODD]
    assert len(set(models)) == len(ODD)
    assert "x" not in models
    assert {file.parent for file in tmp_path.rglob("*.sql") if file.read_text() == "{{ form() }}\n"} == {
        project.forms
    }
    project.run()
    for number, (form, model) in enumerate(zip(ODD, models, strict=True)):
        assert [(row["uuid"], row["x"]) for row in project.warehouse.rows(model)] == [(f"odd-{number}", form)]
    assert {one["form"]: one["model"] for one in terminal.json()["forms"]} == dict(
        zip(ODD, models, strict=True)
    )


def _write(terminal: Terminal, form: str) -> str:
    model: str = json.loads(terminal.ok("write", "--json", "--env", "gamma", "--", form))["model"]
    return model


def test_files_go_where_output_says(terminal: Terminal, tmp_path: Path) -> None:
    terminal.project.warehouse.put("a", report("visit", {"x": "1"}))
    said = terminal.ok("write", "visit", "--output", str(tmp_path / "new" / "folder"), "--env", "gamma")
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == ["visit.sql", "visit.yml"]
    assert str(tmp_path / "new" / "folder" / "visit.sql") in said
    assert not (terminal.project.forms / "visit.sql").exists()


def test_what_cannot_be_done_is_said_with_its_exit_code(terminal: Terminal, tmp_path: Path) -> None:
    terminal.project.warehouse.put("a", report("visit", {"x": "1"}))
    remote = "https://git.example.org/x/cht-pipeline.git#main"
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "dbt_project.yml").write_text("name: bare\n")
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("show", "none"), {}, 1, "no report of the form 'none'"),
        (("show", "visit", "--timeout", "0.001"), {}, 1, "--timeout"),
        (("show",), {}, 2, "Missing argument"),
        (("write", "visit"), {"CHT_PIPELINE_BRANCH_URL": remote}, 2, "--output"),
        (("write", "visit"), {"CHT_PIPELINE_BRANCH_URL": str(bare)}, 2, "no macro form()"),
        (("show", "visit"), {"DBT_POSTGRES_PASSWORD": "wrong" * 6}, 1, "authentication failed"),
        (("show", "visit"), {"DBT_POSTGRES_PASSWORD": "wrong"}, 2, "DBT_POSTGRES_PASSWORD is shorter"),
    ]
    with terminal.project.warehouse.connection as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into v1.medic (_id, doc) select 'n' || n, '{}' from generate_series(1, 20000) as n"
        )
    for words, changes, code, text in cases:
        done = terminal.run(*words, "--env", "gamma", **changes)
        assert done.exit_code == code, (words, done.output)
        assert text in done.stderr, (words, done.output)
        assert "Traceback" not in done.output
    misplaced = terminal.run("--sample", "5", "show", "visit")
    assert misplaced.exit_code == 2
    unknown = terminal.run("--env", "gamma", CHT_PIPELINE_BRANCH_URL=remote)
    assert unknown.exit_code == 0
    assert "is not known" in unknown.stdout


def test_our_own_package_has_a_model_for_each_form_of_the_generator() -> None:
    assert set(FORMS) <= set(models_of(OWN_PACKAGE).forms)
