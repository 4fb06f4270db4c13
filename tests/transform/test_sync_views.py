"""What dashboards know of the synchronisation, and nothing beyond it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from cht_sync.transform.changes import connected
from cht_sync.transform.history import History
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.sync_views import make_views

from .warehouse import MEDIC, Warehouse

STARTED = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def viewed(fresh: Warehouse) -> Warehouse:
    """A warehouse with a recorded run, both views, and a pipeline that has nothing left to do."""
    fresh.put("ada", {"type": "person"})
    with connected(fresh.options) as connection:
        run = RunOutcome("one", "run", STARTED, 1.0, (), (), "own", None)
        History("dbt", 14).record(
            connection, run, until=ask(fresh, "select max(saved_timestamp) from v1.all_documents")
        )
        make_views(connection, "dbt", "v1")
        make_views(connection, "dbt", "v1")
    ask(
        fresh,
        """
        insert into v1.couchdb_progress
          (source, database, pending, updated_at, caught_up_at, held_until, epoch, batch)
        values ('couch/medic', 'medic', 0, now(), now(), now(), 1, 1)
        on conflict (source) do update set pending = 0, updated_at = now(), caught_up_at = now()
        returning 1
        """,
    )
    return fresh


def ask(warehouse: Warehouse, query: str, *values: Any) -> Any:
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute(query, values)
        (row,) = cursor.fetchall()
        return row[0] if len(row) == 1 else row


def database(warehouse: Warehouse, column: str) -> Any:
    name = sql.Identifier(column).as_string(warehouse.connection)
    return ask(warehouse, f"select {name} from dbt.sync_databases where database = %s", MEDIC)


def test_nothing_waits_and_the_models_have_everything(viewed: Warehouse) -> None:
    assert database(viewed, "seconds_behind") == 0
    assert database(viewed, "as_of") == database(viewed, "caught_up_at")


def test_a_document_that_no_run_has_covered_holds_the_moment_back(viewed: Warehouse) -> None:
    viewed.put("eva", {"type": "person"})
    assert database(viewed, "as_of") == STARTED


def test_without_a_run_no_moment_is_claimed(viewed: Warehouse) -> None:
    ask(viewed, "delete from dbt.dbt_runs returning 1")
    assert database(viewed, "as_of") is None


def test_who_waits_is_behind_since_nothing_waited(viewed: Warehouse) -> None:
    ask(
        viewed,
        "update v1.couchdb_progress set pending = 3, caught_up_at = now() - interval '1 hour' returning 1",
    )
    assert database(viewed, "pending") == 3
    assert database(viewed, "seconds_behind") >= 3600
    assert database(viewed, "as_of") <= database(viewed, "caught_up_at")


def test_a_pipeline_that_gives_no_sign_of_life_is_behind(viewed: Warehouse) -> None:
    ask(
        viewed,
        "update v1.couchdb_progress set updated_at = now() - interval '1 hour',"
        " caught_up_at = now() - interval '1 hour' returning 1",
    )
    assert database(viewed, "seconds_behind") >= 3600


def test_dead_letters_are_shown_and_counted_without_their_documents(viewed: Warehouse) -> None:
    for number, closed in ((1, "null"), (2, "now()")):
        ask(
            viewed,
            "insert into v1.dead_letters"
            " (fingerprint, source, database, doc_id, code, reason, document, closed_at)"
            f" values (%s, 'couch/medic', 'medic', 'x', '22P02', 'no json', 'secret', {closed}) returning 1",
            str(number),
        )
    assert database(viewed, "open_dead_letters") == 1
    shown = ask(
        viewed, "select to_jsonb(letter) from dbt.sync_dead_letters as letter where closed_at is null"
    )
    assert shown["doc_id"] == "x"
    assert "document" not in shown


def test_documents_and_tombstones_are_shown_without_what_is_in_them(viewed: Warehouse) -> None:
    viewed.put("eva", {"type": "person"}, deleted=True)
    shown = ask(viewed, "select to_jsonb(one) from dbt.sync_documents as one where _deleted")
    assert shown["database"] == MEDIC
    assert set(shown) == {"database", "saved_timestamp", "_deleted"}


def test_the_role_of_the_dashboards_reads_the_views_and_not_what_is_below(viewed: Warehouse) -> None:
    role = f"{viewed.options.database}_superset"
    with closing(viewed.connection.cursor()) as cursor:
        cursor.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        for view in ("sync_databases", "sync_dead_letters", "sync_documents"):
            cursor.execute(f"select count(*) from dbt.{view}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("select * from v1.dead_letters")
    viewed.connection.rollback()
