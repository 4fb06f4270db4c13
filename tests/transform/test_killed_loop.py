"""A loop that is killed at any moment: the next one goes on, nothing is missing, nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_fixture import PostgresServer

from cht_sync.transform.options import TransformOptions

from .looping import eventually, looping, on_another_connection, query, runs, shown, small
from .warehouse import CHECKOUT, Warehouse

LOOP = """
import sys, threading
from pathlib import Path
from cht_sync.transform.loop import loop
from cht_sync.transform.options import TransformOptions
given = dict(eval(sys.stdin.read(), {"Path": Path, "PosixPath": Path}))
loop(TransformOptions(**given), threading.Event())
"""


@pytest.fixture
def world(fresh: Warehouse, tmp_path: Path) -> Warehouse:
    return small(fresh, tmp_path)


@contextmanager
def process(options: TransformOptions) -> Iterator[subprocess.Popen[str]]:
    """The loop in a process of its own; killed at the end, if it still lives."""
    child = subprocess.Popen([sys.executable, "-c", LOOP], stdin=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert child.stdin is not None
    child.stdin.write(repr(vars(options)))
    child.stdin.close()
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("model", ["documents", "people"])
def test_what_a_kill_cut_off_is_made_up_for(
    world: Warehouse, postgres_server: PostgresServer, model: str
) -> None:
    for number in range(20):
        world.put(f"d{number}", {"type": "person", "n": 1})
    with process(world.options):
        eventually(lambda: runs(world) == ["success"])
    with on_another_connection(world, postgres_server) as holder:
        with holder.connection.cursor() as cursor:
            # Held, the run stops where it writes to this table.
            cursor.execute(f"lock table dbt.{model} in share mode")
            with process(world.options) as child:
                for number in range(10, 30):
                    world.put(f"d{number}", {"type": "person", "n": 2})
                eventually(
                    lambda: query(
                        world,
                        "select 1 from pg_stat_activity where usename = %s"
                        " and application_name = 'cht-sync dbt' and wait_event_type = 'Lock'",
                        world.options.user,
                    )
                )
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
        holder.connection.rollback()
    assert len(runs(world)) == 1

    with looping(world.options):
        eventually(lambda: len(runs(world)) > 1 and shown(world).result == "success")
    found = query(world, "select uuid, (doc ->> 'n')::int from dbt.documents")
    assert dict(found) == {f"d{number}": 1 if number < 10 else 2 for number in range(30)}
    assert len(found) == 30
    assert len(world.rows("people")) == 30
