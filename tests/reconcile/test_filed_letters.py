"""Dead letters in files beside those of the table: an environment has both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from waiting import eventually

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.postgrest.letters import fingerprint
from reconcile.world import World


@pytest.fixture
def refused(world: World) -> World:
    """A letter, `bad`, that the pipeline has put into the table and into its file."""
    world.query("alter table {} add constraint no check (not doc ? 'refused')")
    world.put("bad", refused=True)
    with world.pipeline():
        eventually(lambda: len(world.letters()) == 1)
    # Where the engine of an environment keeps them; the one of these tests has another data folder.
    data = world.settings.data_folder / "logstash" / "data"
    data.mkdir(parents=True)
    (world.home / "dead_letter_queue").rename(data / "dead_letter_queue")
    return world


def file_of(world: World) -> DeadLetterFile:
    return DeadLetterFile(world.settings.data_folder / "logstash" / "data", world.database)


def listed(world: World, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.run("dead-letters", "list", "--json", *options).stdout)
    return found


def only_in_the_file(world: World, document_id: str) -> str:
    """Put a letter of the pipeline into its file that the table has lost; return its name."""
    rejected = Rejected(document_id, "1-a", "7-x", "23514", "why", "{}")
    file_of(world).append_copies({fingerprint(world.settings.source(world.database), rejected): rejected})
    (name,) = [one["id"] for one in listed(world) if one["where"] == "file"]
    return str(name)


def test_a_letter_in_both_places_is_listed_once_with_its_number(refused: World) -> None:
    (letter,) = listed(refused)
    assert (letter["id"], letter["where"], letter["doc_id"]) == (1, "table", "bad")
    assert refused.run("dead-letters", "drop", "1", "--yes").exit_code == 0
    assert listed(refused) == []


def test_letters_of_both_places_are_listed_together_by_their_time(refused: World) -> None:
    file_of(refused).append([Rejected("elsewhere", None, None, "HTTP 400", "no", "{}")])
    assert [(one["where"], one["doc_id"]) for one in listed(refused)] == [
        ("table", "bad"),
        ("file", "elsewhere"),
    ]
    assert [one["doc_id"] for one in listed(refused, "--database", "another")] == []
    assert len(refused.run("dead-letters", "list").stdout.splitlines()) == 3


def test_without_the_table_the_files_are_listed_and_the_exit_code_says_that_it_is_not_all(
    refused: World,
) -> None:
    refused.changes = {"POSTGRES_PORT": "9"}
    answer = refused.run("dead-letters", "list", "--json")
    assert answer.exit_code == 1
    assert answer.stderr.count("\n") == 1
    assert "The table of dead letters was not looked at: PostgreSQL at 127.0.0.1:9" in answer.stderr
    (letter,) = json.loads(answer.stdout)
    assert (letter["where"], letter["database"], letter["doc_id"]) == ("file", refused.database, "bad")
    shown = json.loads(refused.run("dead-letters", "show", letter["id"]).stdout)
    assert (shown["plugin_type"], shown["code"]) == ("http", "23514")
    dropped = refused.run("dead-letters", "drop", letter["id"], "--yes")
    assert (dropped.exit_code, dropped.stdout) == (0, "1 removed from their files.\n")
    assert "No dead letters" in refused.run("dead-letters", "list").stdout


def test_a_letter_of_postgrest_that_only_the_file_has_is_replayed_as_those_of_the_table(
    refused: World,
) -> None:
    refused.put("lost")
    name = only_in_the_file(refused, "lost")
    answer = refused.run("dead-letters", "replay", name)
    assert (answer.exit_code, answer.stdout) == (0, f"{name}: delivered\n")
    assert refused.rows()["lost"] == refused.winners()["lost"]
    assert [one["where"] for one in listed(refused)] == ["table"]


def test_replaying_all_takes_both_places(refused: World) -> None:
    refused.put("lost")
    name = only_in_the_file(refused, "lost")
    refused.query("alter table {} drop constraint no")
    answer = refused.run("dead-letters", "replay", "--all")
    assert (answer.exit_code, answer.stdout) == (0, f"1: stored\n{name}: delivered\n")
    assert refused.rows() == refused.winners()
    assert listed(refused) == []


def test_a_copy_is_not_replayed_beside_its_letter_in_the_table(refused: World) -> None:
    refused.changes = {"POSTGRES_PORT": "9"}
    (copy,) = json.loads(refused.run("dead-letters", "list", "--json").stdout)
    refused.changes = {}
    answer = refused.run("dead-letters", "replay", copy["id"])
    assert answer.exit_code == 1
    assert "is letter 1 of the table; replay that one" in answer.stdout
