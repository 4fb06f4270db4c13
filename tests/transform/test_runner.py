from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from dbt.cli.main import dbtRunner

from cht_sync.errors import ChtSyncError
from cht_sync.transform.docs import generate_docs
from cht_sync.transform.loop import run_once
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner
from cht_sync.transform.summary import summary

from .looping import small
from .warehouse import MODELS, OWN_PACKAGE, SENTINEL, Warehouse


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OWN_PACKAGE, tmp_path / "package"))


def built(outcome: RunOutcome) -> set[str]:
    return {node.name for node in outcome.nodes if (node.kind, node.status) == ("model", "success")}


def test_a_broken_model_is_named_and_the_others_still_run(
    fresh: Warehouse, copied_package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (copied_package / "models" / "contacts" / "person.sql").write_text("select no_such_column")
    (copied_package / "models" / "reader.sql").write_text("select * from {{ ref('person') }}")
    fresh.put("report", {"type": "data_record"})

    outcome = run_once(replace(fresh.options, project=copied_package))

    assert (outcome.result, outcome.skipped) == ("failed", ("reader",))
    assert built(outcome) >= set(MODELS) - {"person"}
    (failure,) = outcome.failures
    assert failure.name == "person"
    assert "no_such_column" in failure.message
    assert fresh.row("data_record", "report")
    shown = summary(fresh.connection, "dbt")
    assert shown is not None
    assert (shown.result, shown.failed, shown.last_run) == ("failed", ["person"], outcome.started_at)
    assert fresh.options.password not in "".join(capfd.readouterr())

    # Mended, it catches up with what it missed, and what could not be tried is made too.
    shutil.copy(OWN_PACKAGE / "models" / "contacts" / "person.sql", copied_package / "models" / "contacts")
    fresh.put("amina", {"type": "person", "name": "Amina"})
    outcome = run_once(replace(fresh.options, project=copied_package))
    assert outcome.result == "success"
    assert built(outcome) >= {*MODELS, "reader"}
    assert fresh.row("person", "amina")["name"] == "Amina"
    shown = summary(fresh.connection, "dbt")
    assert shown is not None
    assert (shown.result, shown.failed) == ("success", [])


def test_a_project_that_cannot_be_parsed_is_a_failed_run(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: broken\nprofile: default\nmodel-paths: 7\n")
    options = replace(warehouse.options, project=tmp_path, work_folder=tmp_path / "work")
    outcome = DbtRunner(options).run()
    assert [failure.name for failure in outcome.failures] == ["dbt"]
    assert outcome.failures[0].message


def test_before_the_first_run_there_is_no_last_run(fresh: Warehouse) -> None:
    assert summary(fresh.connection, "dbt") is None


def test_selectors_choose_what_is_run(warehouse: Warehouse, dbt: DbtRunner, tmp_path: Path) -> None:
    assert dbt.run().succeeded
    options = replace(warehouse.options, selectors=("person", "place"), work_folder=tmp_path)
    assert DbtRunner(options).run().models == 2


def test_a_run_leaves_no_variable_behind_and_writes_only_below_its_work_folder(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    before = dict(os.environ)
    outcome = dbt.run()
    assert outcome.succeeded
    assert dict(os.environ) == before
    assert all(Path(node.compiled_path).is_file() for node in outcome.nodes if node.kind == "model")
    assert (warehouse.options.work_folder / "target").is_dir()
    assert (warehouse.options.work_folder / "logs" / "dbt.log").is_file()
    assert {path.stat().st_mode & 0o077 for path in (warehouse.options.work_folder / "logs").iterdir()} == {0}
    assert {path.name for path in OWN_PACKAGE.iterdir()}.isdisjoint({"target", "logs", "dbt_packages"})
    written = [path for path in warehouse.options.work_folder.rglob("*") if path.is_file()]
    secret = warehouse.options.password.encode()
    assert [path.name for path in written if secret in path.read_bytes()] == []


def test_postgres_that_cannot_be_reached_is_one_clear_error(warehouse: Warehouse) -> None:
    with pytest.raises(ChtSyncError, match="authentication failed") as failed:
        run_once(replace(warehouse.options, password="wrong"))
    assert "wrong" not in str(failed.value)


def test_results_can_be_read_by_the_owner_and_by_dbt(fresh: Warehouse) -> None:
    outcome = run_once(fresh.options)
    options = fresh.options
    as_dbt = psycopg2.connect(
        host=options.host,
        port=options.port,
        user=options.user,
        password=options.password,
        dbname=options.database,
    )
    with closing(as_dbt) as connection:
        assert summary(connection, "dbt") == summary(fresh.connection, "dbt")
    shown = summary(fresh.connection, "dbt")
    assert shown is not None
    assert (shown.last_run, shown.seconds) == (outcome.started_at, outcome.seconds)


def test_the_tests_of_the_package_pass(fresh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.put("place", {"type": "clinic"})
    fresh.put("person", {"type": "person", "parent": {"_id": "place"}})
    fresh.put("person", {"type": "person", "parent": {"_id": "place"}}, database=SENTINEL)
    options = fresh.options
    assert DbtRunner(options).run().succeeded
    for name, value in options.environment().items():
        monkeypatch.setenv(name, value)
    folders = [f"--project-dir={options.project}", f"--profiles-dir={options.profiles}"]
    written = [f"--target-path={options.work_folder}/target", f"--log-path={options.work_folder}/logs"]
    done = dbtRunner().invoke(["--quiet", "test", *folders, *written])
    assert done.success, done.result


def test_the_documentation_is_a_page_that_needs_no_server(fresh: Warehouse, tmp_path: Path) -> None:
    options = small(fresh, tmp_path).options
    page = generate_docs(options)
    assert page.is_relative_to(options.work_folder)
    assert page.parent.stat().st_mode & 0o777 == 0o700
    assert "birthdays" in page.read_text()
    assert options.password not in page.read_text()
    assert summary(fresh.connection, "dbt") is None
    with pytest.raises(ChtSyncError, match=r"dbt docs generate: .*failed"):
        generate_docs(replace(options, port=1))
