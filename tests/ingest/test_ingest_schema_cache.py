"""The schema cache follows every notification, whenever it comes."""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg2
import pytest
from postgres_fixture import PostgresServer, fresh_database
from psycopg2.extensions import connection as Connection
from waiting import eventually

from cht_sync.ingest import schema_cache
from cht_sync.ingest.schema_cache import SchemaCache, Snapshot

CHANNEL = "pgrst"


def test_a_notification_that_comes_while_it_reloads_is_heard(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(postgres_server) as name:
        dsn = postgres_server.dsn(name)
        read = schema_cache.load
        made = threading.Event()

        def load(connection: Connection, schemas: list[str]) -> Snapshot:
            snapshot = read(connection, schemas)
            if not made.is_set():
                made.set()
                execute(dsn, f"create table public.late (a int primary key); notify {CHANNEL}")
                with connection.cursor() as cursor:
                    cursor.execute("select 1")  # whose answer brings the notification along
            return snapshot

        monkeypatch.setattr(schema_cache, "load", load)
        cache = SchemaCache(lambda: connected(dsn), ["public"], CHANNEL)
        stop = threading.Event()
        following = threading.Thread(target=cache.follow, args=(stop,), daemon=True)
        following.start()
        try:
            eventually(lambda: cache.knows("late"))
        finally:
            stop.set()
            following.join()


def connected(dsn: str) -> Connection:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def execute(dsn: str, statement: str) -> None:
    with closing(connected(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
