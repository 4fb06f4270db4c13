"""What `cht-sync status` says of the models."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from cht_sync.runtime.dbt_screen import dbt_lines
from cht_sync.runtime.status import models_status
from cht_sync.transform.summary import LastTests, Package, Problem, Reached, Summary

NOW = datetime.now(UTC)
SOON = (NOW + timedelta(seconds=100)).isoformat()
EARLIER = (NOW - timedelta(seconds=90)).isoformat()
BIRTHS = Problem("births", 'invalid input syntax\nfor type date: "…"', "/srv/births.sql", EARLIER, SOON)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", NOW.timestamp)


def found(**changes: Any) -> Summary:
    given: dict[str, Any] = {
        "last_run": NOW - timedelta(seconds=4),
        "result": "success",
        "seconds": 1.23,
        "problems": (),
        "skipped": (),
        "package": Package("own", None, None),
        "reached": Reached(NOW, 7, 4.1, 5.0, 9.04, 0.0),
        "tests": None,
    }
    return Summary(**(given | changes))


def lines(summary: Summary, *, behind: float | None = 0.0) -> list[str]:
    console = Console(file=io.StringIO(), width=300, color_system=None)
    for line in dbt_lines(models_status(summary, behind)):
        console.print(line)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def styles(summary: Summary) -> list[str]:
    return [str(line.style) for line in dbt_lines(models_status(summary, 0.0))]


def test_when_all_is_well_it_takes_two_lines() -> None:
    assert lines(found()) == [
        "dbt: last run 4 s ago, 1.2 s, success",
        "a change reaches the models after 4.1 s (greatest of the last hour: 9.0 s)",
    ]


def test_a_failing_model_is_red_with_its_message_its_sql_and_its_next_try() -> None:
    summary = found(result="failed", problems=(BIRTHS,), skipped=("birthdays",))
    first, _fresh, failing, sql, retry, skipped = lines(summary)
    assert first.endswith("failed: births")
    assert failing == '! births fails for 1 min: invalid input syntax for type date: "…"'
    assert sql == "  SQL: /srv/births.sql"
    assert retry == "  tried again in 100 s"
    assert skipped == "not tried, because they read what fails: birthdays"
    assert styles(summary)[2:5] == ["red"] * 3


def test_what_the_pipelines_are_behind_is_part_of_the_way() -> None:
    assert lines(found(), behind=10.0)[1] == (
        "a change reaches the models after 14.1 s, 10.0 s of them before PostgreSQL"
        " (greatest of the last hour: 9.0 s)"
    )
    assert "is not known" in lines(found(), behind=None)[1]


def test_tests_that_fail_or_warn_are_named() -> None:
    test = Problem("unique_x", "Got 2 results", "/srv/unique_x.sql")
    tests = LastTests(NOW, 41, (Problem("odd_y", "Got 1 result", ""),), (test,))
    assert lines(found(tests=tests))[2:] == [
        "tests 0 s ago: 41 passed, 1 failed: unique_x, 1 warned: odd_y",
        "! unique_x: Got 2 results",
        "  SQL: /srv/unique_x.sql",
    ]


def test_a_note_on_the_package_is_told() -> None:
    package = Package("https://git.example.org/p.git", "a" * 40, "not reachable since noon")
    assert lines(found(package=package))[-1] == "! package: not reachable since noon"


def test_the_status_for_machines_has_the_same() -> None:
    shown = models_status(found(result="failed", problems=(BIRTHS,)), 1.0)
    assert shown["failed"] == ["births"]
    assert shown["failing"][0]["compiled_sql"] == "/srv/births.sql"
    assert shown["freshness"] | {"at": ""} == {
        "seconds": 5.1, "median": 4.1, "greatest": 5.0, "greatest_of_last_hour": 9.04,
        "pipeline_seconds_behind": 1.0, "documents": 7, "at": "",
    }  # fmt: skip
    assert shown["tests"] is None
    assert shown["package"] == {"origin": "own", "commit": None, "note": None}


def test_before_the_first_run_it_is_said() -> None:
    assert [str(line) for line in dbt_lines(None)] == ["dbt: no run yet"]
