"""On a partitioned table verify, repair and resync find and mend the same; each test here is one of theirs."""

from __future__ import annotations

import pytest
from postgres_fixture import on_every_server
from waiting import eventually
from warehouse.partitioning import partition

from reconcile.conftest import world as plain_world
from reconcile.test_repair import (
    test_a_repair_touches_neither_epoch_nor_position_of_a_living_pipeline as test_repair_beside_a_pipeline,
)
from reconcile.test_repair import test_each_kind_of_difference_is_mended as test_repair_of_each_kind
from reconcile.test_repair import test_hard_ids_are_mended as test_repair_of_hard_ids
from reconcile.test_repair import test_many_rows_are_mended_in_several_transactions as test_repair_of_many
from reconcile.test_resync import (
    test_a_damaged_document_of_the_right_revision_is_mended_by_resync_and_not_by_verify as test_resync_of_damage,
)
from reconcile.test_resync import (
    test_rows_that_are_right_keep_stamp_and_version_and_a_second_run_changes_nothing as test_resync_of_nothing,
)
from reconcile.test_resync import test_what_a_repair_mends_is_mended_too as test_resync_of_each_kind
from reconcile.world import World

pytest_generate_tests = on_every_server

__all__ = [
    "plain_world",
    "test_repair_beside_a_pipeline",
    "test_repair_of_each_kind",
    "test_repair_of_hard_ids",
    "test_repair_of_many",
    "test_resync_of_damage",
    "test_resync_of_each_kind",
    "test_resync_of_nothing",
]


@pytest.fixture
def world(plain_world: World) -> World:
    partition(plain_world.installation, 4, table=plain_world.database)
    return plain_world


def test_a_living_pipeline_goes_on_in_the_new_table(plain_world: World) -> None:
    plain_world.put("a", "b")
    with plain_world.pipeline():
        eventually(lambda: plain_world.rows() == plain_world.winners())
        stamps = plain_world.query("select _id, saved_timestamp from {} order by 1")
        partition(plain_world.installation, 4, table=plain_world.database)
        assert plain_world.query("select _id, saved_timestamp from {} order by 1") == stamps
        plain_world.put("b", "c")
        eventually(lambda: plain_world.rows() == plain_world.winners())
    assert plain_world.verify().finding.same


def test_verify_reads_partitions_in_the_order_of_their_ids(world: World) -> None:
    world.put(*(f"{number * 7919 % 3000:05}" for number in range(3000)), "é", "Z", "😀", "_design/x")
    world.load()
    result = world.verify()
    assert (result.finding.same, result.finding.rows) == (True, 3004)
    world.forget("00007", "é")
    assert {kind.value: ids for kind, ids in world.verify().finding.examples.items() if ids} == {
        "missing": ["00007", "é"]
    }
