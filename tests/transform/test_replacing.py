"""What readers see while models take the place of older ones: always all the rows of one or the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2.extensions import connection as Connection
from waiting import eventually

from cht_sync.transform.stale_views import stale_views

from .written_package import INCREMENTAL, NUMBERS, ROWS, WrittenPackage


@contextmanager
def readers(connect: Callable[[], Connection], queries: dict[str, set[Any]]) -> Iterator[None]:
    """Ask each query again and again meanwhile; whatever is answered must be among its expected answers."""
    stop = threading.Event()
    wrong: list[str] = []
    asked = dict.fromkeys(queries, 0)

    def read(query: str) -> None:
        with closing(connect()) as connection:
            connection.autocommit = True
            while not stop.is_set():
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(query)
                        answer = cursor.fetchone()
                except psycopg2.Error as error:
                    wrong.append(f"{query}: {error}")
                    return
                if answer is None or answer[0] not in queries[query]:
                    wrong.append(f"{query}: {answer}")
                asked[query] += 1

    threads = [threading.Thread(target=read, args=(query,)) for query in queries]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert min(asked.values()) > 0


def test_readers_see_all_rows_of_the_old_or_of_the_new_model_and_never_an_error(
    package: WrittenPackage, postgres_server: PostgresServer
) -> None:
    package.write(
        grown=INCREMENTAL,
        whole="{{ config(materialized='table') }} select * from {{ ref('grown') }}",
        seen="{{ config(materialized='view') }} select n, said from {{ ref('whole') }}",
        seen_twice="{{ config(materialized='view') }} select count(*) as many from {{ ref('seen') }}",
    )
    package.succeeds()
    database = package.warehouse.options.database
    package.query("create schema people")
    package.query("create view people.mine as select n from dbt.grown")
    package.query("create view people.seen as select n from dbt.seen")
    package.query("grant all on schema people to public")
    both = {ROWS, ROWS + 1}
    queries = {
        "select count(*) from dbt.grown": both,
        "select count(*) from dbt.whole": both,
        "select count(*) from dbt.seen": both,
        "select many from dbt.seen_twice": both,
        "select count(*) from people.mine": both,
        "select count(*) from people.seen": both,
    }
    with readers(lambda: psycopg2.connect(postgres_server.dsn(database)), queries):
        package.succeeds()
        package.succeeds(vars={"numbers": ROWS + 1})
        package.write(grown=INCREMENTAL.replace("as said", "as said, n % 2 = 0 as even"))
        package.succeeds(vars={"numbers": ROWS + 1})
    assert package.query("select count(*) filter (where even) from dbt.grown") == [(250,)]
    assert {package.query(query)[0][0] for query in queries} == {ROWS + 1}
    assert package.query("select relname from pg_class where relname like '%\\_\\_dbt\\_%'") == []


def test_a_replaced_model_has_the_privileges_of_the_one_before(package: WrittenPackage) -> None:
    options = package.warehouse.options
    package.write(
        grown=INCREMENTAL,
        seen="{{ config(materialized='view') }} select n from {{ ref('grown') }}",
    )
    package.succeeds()
    superset = f'"{options.database}_superset"'
    package.query(f"revoke all on dbt.grown from {superset}")
    package.query("grant select on dbt.grown to public")
    package.query(f"grant update (said) on dbt.grown to {superset} with grant option")
    rights = """
        select relname, relacl::text, (select attacl::text from pg_attribute
            where attrelid = pg_class.oid and attname = 'said')
        from pg_class where relnamespace = 'dbt'::regnamespace and relname in ('grown', 'seen') order by 1
    """
    before = package.query(rights)
    assert f"{options.database}_superset=r/" in before[1][1]
    package.write(grown=INCREMENTAL.replace("some text", "another"))
    assert package.succeeds().full_refreshed == ("grown",)
    assert package.query("select distinct said from dbt.grown") == [("another",)]
    assert package.query(rights) == before


def test_a_view_of_somebody_that_cannot_read_the_new_columns_keeps_the_old_rows_and_is_named(
    package: WrittenPackage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    package.write(grown=INCREMENTAL)
    package.succeeds()
    package.query("create schema people")
    package.query("create view people.mine as select said from dbt.grown")
    package.write(grown=INCREMENTAL.replace("as said", "as told"))
    package.succeeds()
    assert package.query("select count(told) from dbt.grown") == [(ROWS,)]
    assert package.query("select count(said) from people.mine") == [(ROWS,)]
    assert "people.mine" in caplog.text
    (stale,) = stale_views(package.warehouse.connection)
    assert stale.startswith("dbt: people.mine reads old rows, of dbt.grown__dbt_old_")

    package.query("create or replace view people.mine as select told as said from dbt.grown")
    package.succeeds()
    assert package.query("select relname from pg_class where relname like '%\\_\\_dbt\\_%'") == []
    assert stale_views(package.warehouse.connection) == []


def test_a_view_of_somebody_stays_current_when_columns_that_it_does_not_need_are_gone(
    package: WrittenPackage,
) -> None:
    package.write(
        grown=INCREMENTAL.replace("as said", "as said, n * 2 as twice, n * 3 as thrice"),
        seen="{{ config(materialized='view') }} select n, said from {{ ref('grown') }}",
    )
    package.succeeds()
    package.query("create schema people")
    package.query("create view people.mine as select n, twice from dbt.grown")
    package.query("create materialized view people.kept as select n from dbt.grown")
    package.query("create index by_hand on dbt.grown (thrice)")
    package.write(
        grown=INCREMENTAL.replace("'some text' as said", "n * 2 as twice"),
        seen="{{ config(materialized='view') }} select n from {{ ref('grown') }}",
    )
    package.succeeds(vars={"numbers": ROWS + 1})
    assert package.query("select max(twice) from people.mine") == [(2 * (ROWS + 1),)]
    assert package.query(
        "select attname from pg_attribute where attrelid = 'dbt.grown'::regclass "
        "and attnum > 0 and not attisdropped"
    ) == [("n",), ("twice",)]
    assert stale_views(package.warehouse.connection) == []
    # The next run inserts into the columns that are left.
    package.succeeds()
    assert package.query("select relname from pg_class where relname like '%\\_\\_dbt\\_%'") == []


def test_a_model_that_becomes_a_view_or_a_table_or_loses_a_column_takes_its_views_along(
    package: WrittenPackage,
) -> None:
    seen = "{{ config(materialized='view') }} select n from {{ ref('base') }}"
    package.write(base="{{ config(materialized='table') }}" + NUMBERS, seen=seen)
    package.succeeds()
    for base in (
        "{{ config(materialized='view') }}" + NUMBERS,
        "{{ config(materialized='view') }}" + NUMBERS.replace(", 'some text' as said", ""),
        INCREMENTAL,
        "{{ config(materialized='table') }}" + NUMBERS.replace("n,", "n::text as n,"),
    ):
        package.write(base=base)
        package.succeeds()
        assert package.query("select count(n) from dbt.seen") == [(ROWS,)]
    assert package.query("select pg_typeof(n)::text from dbt.seen limit 1") == [("text",)]
    assert package.query("select relname from pg_class where relname like '%\\_\\_dbt\\_%'") == []


def test_a_long_query_does_not_make_other_readers_wait_behind_the_replacement(
    package: WrittenPackage, postgres_server: PostgresServer
) -> None:
    package.write(whole="{{ config(materialized='table') }}" + NUMBERS)
    package.succeeds()
    database = package.warehouse.options.database
    with closing(psycopg2.connect(postgres_server.dsn(database))) as long_query:
        long_query.cursor().execute("select count(*) from dbt.whole")
        outcomes: list[Any] = []
        running = threading.Thread(target=lambda: outcomes.append(package.run(vars={"numbers": 7})))
        running.start()
        with closing(psycopg2.connect(postgres_server.dsn(database))) as other:
            other.autocommit = True
            with other.cursor() as cursor:
                cursor.execute("set lock_timeout = '20s'")
                for state in ("Lock", "Timeout", "Lock"):
                    eventually(lambda state=state: waits(cursor, state))  # type: ignore[misc]
                    cursor.execute("select count(*) from dbt.whole")
                    assert cursor.fetchone() == (ROWS,)
        long_query.rollback()
        running.join(120)
    assert outcomes[0].succeeded
    assert package.query("select count(*) from dbt.whole") == [(7,)]


def waits(cursor: Any, kind: str) -> bool:
    """Whether dbt waits for a lock, or pauses before it asks again."""
    cursor.execute(
        "select 1 from pg_stat_activity where wait_event_type = %s and application_name = 'cht-sync dbt'",
        (kind,),
    )
    return cursor.fetchone() is not None
