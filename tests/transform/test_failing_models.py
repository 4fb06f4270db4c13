"""A model that fails: the others go on, it is tried again, and nothing of a patient is told."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cht_sync.errors import SettingsError
from cht_sync.transform.loop import run_once, run_tests_once
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

from .looping import eventually, looping, query, runs, shown, small
from .warehouse import Warehouse

SECRET = "the day Ada was born"
Call = dict[str, Any]


@pytest.fixture
def world(fresh: Warehouse, tmp_path: Path) -> Warehouse:
    return small(fresh, tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """How the loop asked for its runs, and what each built."""
    made: list[Call] = []
    original = DbtRunner.run

    def run(self: DbtRunner, **given: Any) -> RunOutcome:
        outcome = original(self, **given)
        made.append({"select": (), **given, "nodes": {node.name: node.status for node in outcome.nodes}})
        return outcome

    monkeypatch.setattr(DbtRunner, "run", run)
    return made


def retry(call: Call) -> bool:
    return bool(call["select"])


def test_the_others_go_on_while_it_is_tried_again_with_all_that_reads_it(
    world: Warehouse, calls: list[Call], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cht_sync.transform")
    world.put("ada", {"type": "person", "born": SECRET})
    with looping(world.options):
        eventually(lambda: runs(world)[:1] == ["failed"])
        assert calls[0]["nodes"] == {
            "documents": "success", "people": "success", "births": "error", "birthdays": "skipped",
        }  # fmt: skip
        world.put("amina", {"type": "person"})
        eventually(lambda: world.rows("people", "amina"))
        eventually(lambda: sum(map(retry, calls)) >= 2)
        found = shown(world)

        world.put("ada", {"type": "person", "born": "2001-02-03"})
        eventually(lambda: world.rows("birthdays", "ada") and shown(world).result == "success")
        assert shown(world).problems == ()

    by_data = [call for call in calls[1:] if not retry(call)]
    retries = [call for call in calls if retry(call)]
    assert by_data[0] | {"full_refresh": False} == {
        "select": (), "full_refresh": False, "exclude": ("births+",),
        "nodes": {"documents": "success", "people": "success"},
    }  # fmt: skip
    assert {call["select"] for call in retries} == {("births+",)}
    assert retries[0]["nodes"] == {"births": "error", "birthdays": "skipped"}
    assert retries[-1]["nodes"] == {"births": "success", "birthdays": "success"}

    (problem,) = found.problems
    assert (found.result, found.failed, problem.name) == ("failed", ["births"], "births")
    assert found.skipped == ("birthdays",)
    assert 'invalid input syntax for type date: "…"' in problem.message
    assert "::date" in Path(problem.compiled_path).read_text()
    assert problem.since is not None
    assert problem.retry_at is not None

    kept = query(world, "select to_jsonb(run)::text from dbt.dbt_runs as run")
    kept += query(world, "select to_jsonb(node)::text from dbt.dbt_model_results as node")
    assert not any(SECRET in text for (text,) in kept)
    assert SECRET not in caplog.text
    log = world.options.work_folder / "logs" / "dbt.log"
    assert SECRET in log.read_text()


def test_a_full_refresh_builds_anew_once_what_succeeds_and_again_what_fails(
    world: Warehouse, calls: list[Call]
) -> None:
    world.put("ada", {"type": "person", "born": SECRET})
    with looping(replace(world.options, full_refresh=True)):
        eventually(lambda: any(map(retry, calls)))
        world.put("ada", {"type": "person", "born": "2001-02-03"})
        eventually(lambda: world.rows("birthdays", "ada"))
        world.put("ada", {"type": "person", "born": "2001-02-04"})
        eventually(
            lambda: shown(world).result == "success" and not retry(calls[-1]) and len(calls[-1]["nodes"]) == 4
        )
    first, *others = calls
    assert first["full_refresh"]
    assert all(call["full_refresh"] for call in others if retry(call))
    assert not any(call["full_refresh"] for call in others if not retry(call))


def test_a_changed_package_is_run_without_a_change_of_data_and_tries_everything(
    world: Warehouse, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.transform.retries.new_retries", lambda first: iter([1e6]))
    world.put("ada", {"type": "person", "born": SECRET})
    with looping(world.options):
        eventually(lambda: runs(world) == ["failed"])
        births = world.options.project / "models" / "births.sql"
        births.write_text(births.read_text().replace("(doc ->> 'born')::date", "null::date"))
        eventually(lambda: world.rows("birthdays", "ada"))
        eventually(lambda: shown(world).result == "success")
    assert calls[-1]["select"] == calls[-1]["exclude"] == ()


def test_the_loop_tries_at_once_what_somebody_has_built_by_hand(
    world: Warehouse, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.transform.retries.new_retries", lambda first: iter([1e6]))
    world.put("ada", {"type": "person", "born": SECRET})
    with looping(world.options):
        eventually(lambda: runs(world) == ["failed"])
        world.put("ada", {"type": "person", "born": "2001-02-03"})
        assert run_once(replace(world.options, selectors=("+births",))).succeeded
        eventually(lambda: any(map(retry, calls)))
        eventually(lambda: world.rows("birthdays", "ada") and shown(world).result == "success")
    (tried,) = [call for call in calls if retry(call)]
    assert tried["nodes"] == {"births": "success", "birthdays": "success"}


def test_a_run_by_hand_does_not_hide_what_fails_and_was_not_part_of_it(world: Warehouse) -> None:
    world.put("ada", {"type": "person", "born": SECRET})
    assert not run_once(world.options).succeeded
    before = shown(world)
    assert run_once(replace(world.options, selectors=("people",))).succeeded
    after = shown(world)
    assert (after.result, after.failed, after.skipped) == ("failed", ["births"], ("birthdays",))
    assert after.problems == before.problems

    for name in ("births", "birthdays"):
        (world.options.project / "models" / f"{name}.sql").unlink()
    assert run_once(world.options).succeeded
    assert (shown(world).result, shown(world).problems, shown(world).skipped) == ("success", (), ())


def test_a_selection_of_nothing_is_refused_by_hand_and_told_once_by_the_loop(
    world: Warehouse, calls: list[Call], caplog: pytest.LogCaptureFixture
) -> None:
    nothing = replace(world.options, selectors=("nosuch",))
    with pytest.raises(SettingsError, match="--select nosuch: no model is selected"):
        run_once(nothing)
    with pytest.raises(SettingsError, match="--select nosuch: no test is selected"):
        run_tests_once(nothing, partial=True)
    del calls[:]
    with looping(nothing):
        for number in range(3):
            made = len(calls)
            world.put(f"d{number}", {"type": "person"})
            eventually(lambda made=made: len(calls) > made)
    assert caplog.text.count("no model is selected: --select nosuch") == 1


def test_models_go_on_where_results_cannot_be_kept(
    world: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    with world.connection as connection, connection.cursor() as cursor:
        cursor.execute("create table dbt.dbt_runs (somebody_elses int)")
    world.put("ada", {"type": "person", "born": SECRET})
    assert [node.name for node in run_once(world.options).failures] == ["births"]
    with looping(world.options):
        eventually(lambda: world.rows("people", "ada"))
        world.put("amina", {"type": "person"})
        eventually(lambda: world.rows("people", "amina"))
    assert "the results of a run cannot be kept" in caplog.text
    assert "PostgreSQL refuses" not in caplog.text
