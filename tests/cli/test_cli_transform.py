"""What is said on the command line of dbt wins over the settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cht_sync.cli import main, transform
from cht_sync.settings import declared
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.results import NodeResult, RunOutcome

SETTINGS = {
    "DBT_SELECT": "tag:daily person",
    "DBT_EXCLUDE": "tag:slow",
    "DBT_THREADS": "3",
    "DBT_BATCH_SIZE": "10000",
    "DBT_VARS": "{person_types: [person], language: en}",
    "DBT_TEST_INTERVAL": "60",
    "DBT_RESULTS_DAYS": "7",
    "DBT_METRICS_PORT": "9701",
    "CHT_PIPELINE_BRANCH_URL": "https://git.example.org/cht-pipeline.git#main",
    "CHT_PIPELINE_TOKEN": "swordfish",
    "CHT_PIPELINE_UPDATE_INTERVAL": "30",
}


class Ran:
    """Stands for dbt: keeps the options, and gives an outcome."""

    def __init__(self) -> None:
        self.options: TransformOptions | None = None
        self.given: dict[str, Any] = {}
        self.status = "success"

    def __call__(self, options: TransformOptions, *_rest: Any, **given: Any) -> RunOutcome:
        self.options, self.given = options, given
        node = NodeResult("person", "model.p.person", "model", self.status)
        return RunOutcome("id", "run", datetime.now(UTC), 1.0, (node,))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    made = Ran()
    for name in ("run_once", "run_tests_once", "loop"):
        monkeypatch.setattr(transform, name, made)
    return made


def run(home: Path, *words: str, **variables: str) -> Result:
    unset: dict[str, str | None] = {name: None for name, _variable in declared()}
    return CliRunner().invoke(main, ["dbt", *words], env=unset | {"CHT_SYNC_HOME": str(home)} | variables)


def options(ran: Ran) -> TransformOptions:
    assert ran.options is not None
    return ran.options


@pytest.mark.parametrize("command", ["run", "loop", "test"])
def test_the_settings_count_where_nothing_else_is_said(ran: Ran, tmp_path: Path, command: str) -> None:
    assert run(tmp_path, command, **SETTINGS).exit_code == 0
    made = options(ran)
    assert (made.selectors, made.exclude, made.threads) == (("tag:daily", "person"), ("tag:slow",), 3)
    assert made.variables() == {"person_types": ["person"], "language": "en", "batch_size": 10000}
    assert (made.test_interval, made.results_days, made.metrics_port) == (60, 7, 9701)
    assert (made.url, made.update_interval) == (SETTINGS["CHT_PIPELINE_BRANCH_URL"], 30)
    assert made.token == "swordfish"
    assert "swordfish" not in repr(made)
    assert not made.full_refresh


@pytest.mark.parametrize("command", ["run", "loop"])
def test_the_command_line_wins(ran: Ran, tmp_path: Path, command: str) -> None:
    words = [
        "--select",
        "place",
        "--select",
        "contact",
        "--exclude",
        "users",
        "--threads",
        "1",
        "--full-refresh",
    ]
    words += ["--batch-size", "5", "--vars", "{language: fr}"]
    assert run(tmp_path, command, *words, **SETTINGS).exit_code == 0
    made = options(ran)
    assert (made.selectors, made.exclude, made.threads) == (("place", "contact"), ("users",), 1)
    assert made.variables() == {"person_types": ["person"], "language": "fr", "batch_size": 5}
    assert made.full_refresh


def test_variables_that_cannot_be_read_are_refused(ran: Ran, tmp_path: Path) -> None:
    done = run(tmp_path, "run", "--vars", "[1, 2]")
    assert done.exit_code == 2
    assert "--vars" in done.stderr
    assert ran.options is None


@pytest.mark.parametrize("command", ["run", "test"])
@pytest.mark.parametrize(("status", "code"), [("success", 0), ("error", 1)])
def test_the_exit_code_says_whether_something_failed(
    ran: Ran, tmp_path: Path, command: str, status: str, code: int
) -> None:
    ran.status = status
    assert run(tmp_path, command).exit_code == code


def test_the_metrics_stay_on_loopback_unless_told_otherwise(ran: Ran, tmp_path: Path) -> None:
    assert run(tmp_path, "loop").exit_code == 0
    assert ran.given["metrics_host"] == "127.0.0.1"
    assert run(tmp_path, "loop", "--metrics-host", "0.0.0.0").exit_code == 0
    assert ran.given["metrics_host"] == "0.0.0.0"


@pytest.mark.parametrize(
    ("words", "partial"),
    [
        ([], False),
        (["--threads", "1"], False),
        (["--select", "person"], True),
        (["--exclude", "person"], True),
        (["--vars", "{language: fr}"], True),
    ],
)
def test_tests_that_somebody_chose_are_no_whole_pass(
    ran: Ran, tmp_path: Path, words: list[str], partial: bool
) -> None:
    assert run(tmp_path, "test", *words, **SETTINGS).exit_code == 0
    assert ran.given == {"partial": partial}


def test_docs_prints_where_the_page_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "generate_docs", lambda options: options.work_folder / "page.html")
    done = run(tmp_path, "docs", **SETTINGS)
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path / '.cht-sync' / 'local' / 'dbt' / 'page.html'}\n"
