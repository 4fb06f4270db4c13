"""A loop in a thread of the test, over a package that is run in a moment."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
from postgres_fixture import PostgresServer

from cht_sync.transform.loop import loop
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.summary import Summary, summary

from .warehouse import Warehouse

SMALL_PACKAGE = Path(__file__).parent / "small_package"
"""documents (incremental), people, births and birthdays, which reads births."""
PATIENCE = 60.0


def small(warehouse: Warehouse, folder: Path) -> Warehouse:
    """The same warehouse with a copy of the small package in `folder`; no tests are run by themselves."""
    package = Path(shutil.copytree(SMALL_PACKAGE, folder / "small_package"))
    options = replace(warehouse.options, project=package, url=str(package), test_interval=0.0)
    return Warehouse(warehouse.connection, options)


@contextmanager
def on_another_connection(warehouse: Warehouse, server: PostgresServer) -> Iterator[Warehouse]:
    """The same warehouse for another thread: a connection serves one at a time."""
    with closing(psycopg2.connect(server.dsn(warehouse.options.database))) as connection:
        yield Warehouse(connection, warehouse.options)


@contextmanager
def looping(options: TransformOptions) -> Iterator[threading.Event]:
    """Run the loop; gives the event that ends it."""
    stop = threading.Event()
    thread = threading.Thread(target=loop, args=(options, stop), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def eventually(found: Callable[[], Any]) -> Any:
    """Ask until something is found; a table that is not there yet is nothing."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        try:
            if value := found():
                return value
        except psycopg2.errors.UndefinedTable:
            pass
        pause.wait(0.05)
    raise AssertionError(f"not within {PATIENCE} s")


def query(warehouse: Warehouse, text: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask as the owner."""
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


def runs(warehouse: Warehouse) -> list[str]:
    """The results of all runs, in their order."""
    return [result for (result,) in query(warehouse, "select result from dbt.dbt_runs order by started_at")]


def shown(warehouse: Warehouse) -> Summary:
    """What status would show; there must have been a run."""
    found = summary(warehouse.connection, warehouse.options.schema)
    assert found is not None
    return found
