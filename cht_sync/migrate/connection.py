"""The connection over which old tables are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection as Connection

from cht_sync.reconcile.table import told_of
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import owner_endpoint

ALL_ROWS = "set row_security = off"
"""Policies of others could hide rows, and call functions that would run with our rights: rather an error."""


@contextmanager
def patiently_connected(settings: Settings, what: str) -> Iterator[Connection]:
    """The owner's, in autocommit: whole tables are read, which no time limit of a role is meant for.

    Raises ChtSyncError, where it says that `what` failed.
    """
    with told_of(what), owner_endpoint(settings).connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0")
            cursor.execute(ALL_ROWS)
        yield connection
