"""On a partitioned table verify, repair and resync find and mend the same; most tests here are theirs."""

from __future__ import annotations

import pytest
from postgres_fixture import on_every_server
from waiting import eventually
from warehouse.partitioning import partition

from cht_sync.reconcile.state import Kind
from reconcile import test_repair as repairs
from reconcile import test_resync as resyncs
from reconcile.conftest import world as plain_world
from reconcile.world import World, found, only

pytest_generate_tests = on_every_server

__all__ = ["plain_world"]

test_each_kind_is_repaired = repairs.test_each_kind_of_difference_is_mended
test_hard_ids_are_repaired = repairs.test_hard_ids_are_mended
test_many_rows_are_repaired = repairs.test_many_rows_are_mended_in_several_transactions
test_a_pipeline_lives_beside_a_repair = (
    repairs.test_a_repair_touches_neither_epoch_nor_position_of_a_living_pipeline
)
test_damage_is_mended_by_resync = (
    resyncs.test_a_damaged_document_of_the_right_revision_is_mended_by_resync_and_not_by_verify
)
test_resync_changes_nothing_that_is_right = (
    resyncs.test_rows_that_are_right_keep_stamp_and_version_and_a_second_run_changes_nothing
)
test_each_kind_is_mended_by_resync = resyncs.test_what_a_repair_mends_is_mended_too


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
    assert found(world.verify()) == only(Kind.MISSING, "00007", "é")
