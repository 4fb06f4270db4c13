"""A partitioned table is loaded in parallel as any other; each test here is one of test_load.py's."""

from __future__ import annotations

import pytest
from postgres_fixture import on_every_server
from reconcile.conftest import world as plain_world
from reconcile.world import World
from warehouse.partitioning import partition

from load import test_load as loads

pytest_generate_tests = on_every_server

__all__ = ["plain_world"]

test_rows_are_those_of_the_feed = loads.test_rows_are_those_that_the_feed_would_have_brought
test_the_pipeline_brings_what_is_left = loads.test_the_pipeline_brings_only_what_was_changed_since_the_start
test_no_row_goes_back = loads.test_no_row_goes_back_while_people_write_and_the_pipeline_runs
test_a_pipeline_that_is_behind_is_not_overtaken = (
    loads.test_a_pipeline_that_is_behind_is_never_overtaken_for_good_nor_turned_back
)


@pytest.fixture
def world(plain_world: World) -> World:
    partition(plain_world.installation, 4, table=plain_world.database)
    return plain_world
