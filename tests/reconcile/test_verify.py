"""What verify finds, and what it does not take for a difference."""

from __future__ import annotations

import pytest
from postgres_fixture import on_every_server

from cht_sync.reconcile.state import Kind
from reconcile.world import World, found, only

pytest_generate_tests = on_every_server

HARD_IDS = (
    "emoji 😀", "😀", "\uffff", "\ufffe", "नेपाली", "ÿ", "é", "quote\"'\\", "line\nend", "a/b", "a+b?c&d#e%20",
    "UPPER", "upper", "~", " ", "_design/x", "_design/X", "10", "9", "\x01", "\U0010ffff", "long" * 2_000,
)  # fmt: skip


def test_what_the_pipeline_brought_is_the_same(world: World) -> None:
    world.put("a", "b", "c")
    world.load()
    world.delete("b")
    world.load()
    result = world.verify()
    assert result.finding.same
    sizes = (
        result.finding.documents,
        result.finding.deletions,
        result.finding.rows,
        result.finding.tombstones,
    )
    assert sizes == (2, 1, 2, 1)


def test_an_empty_database_is_the_same_as_its_empty_table(world: World) -> None:
    assert world.verify().finding.same


def test_a_deleted_row_is_missing(world: World) -> None:
    world.put("a", "b", "c")
    world.load()
    world.forget("b")
    result = world.verify()
    assert found(result) == only(Kind.MISSING, "b")
    assert not result.finding.same


def test_a_lost_tombstone_is_missing(world: World) -> None:
    world.put("a", "b")
    world.load()
    world.delete("b")
    world.load()
    world.forget("b")
    assert found(world.verify()) == only(Kind.MISSING, "b")


@pytest.mark.parametrize("change", ["_rev = '1-other'", "_deleted = true", "_rev = null"])
def test_a_row_of_another_revision_or_deletion_mark_is_stale(world: World, change: str) -> None:
    world.put("a", "b", "c")
    world.load()
    world.damage(f"update {{}} set {change} where _id = 'b'")
    assert found(world.verify()) == only(Kind.STALE, "b")


def test_a_tombstone_of_another_revision_is_stale(world: World) -> None:
    world.put("a")
    world.load()
    world.delete("a")
    world.load()
    world.damage("update {} set _rev = '1-other' where _id = 'a'")
    assert found(world.verify()) == only(Kind.STALE, "a")


def test_a_row_of_a_purged_document_is_extra_but_its_tombstone_is_not(world: World) -> None:
    world.put("a", "b", "c")
    world.load()
    insert = (
        "insert into {} (_id, _rev, doc, _deleted, saved_timestamp) values (%s, '1-x', '{{}}', %s, now())"
    )
    world.damage(insert, "purged", False)
    world.damage(insert, "purged and repaired", True)
    assert found(world.verify()) == only(Kind.EXTRA, "purged")


def test_hard_ids_are_the_same_and_each_is_missed_where_its_row_is_lost(world: World) -> None:
    world.put(*HARD_IDS)
    world.load()
    assert world.verify().finding.same
    assert world.verify().finding.documents == len(HARD_IDS)
    world.forget(*HARD_IDS)
    assert found(world.verify()) == only(Kind.MISSING, *HARD_IDS)


def test_hard_ids_are_extra_where_couchdb_lacks_them(world: World) -> None:
    world.damage(
        "insert into {} (_id, _rev, saved_timestamp) select unnest(%s), '1-x', now()", list(HARD_IDS)
    )
    assert found(world.verify()) == only(Kind.EXTRA, *HARD_IDS)
