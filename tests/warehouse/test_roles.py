"""What each role can do, and what it cannot."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from warehouse.installation import Installation, headers, put


def refused(connection: Connection, role: str | None, *statements: str) -> None:
    """Each statement alone must fail for want of a right."""
    for statement in statements:
        with connection, connection.cursor() as cursor:
            if role is not None:
                cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            cursor.execute("savepoint here")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
                pytest.fail(f"{role}: {statement}")
            cursor.execute("rollback to savepoint here")


READ = "select * from v1.medic"
INSERT = "insert into v1.medic (_id) values ('x')"


def test_the_ingest_role_writes_documents_and_letters_and_nothing_else(installed: Installation) -> None:
    with closing(installed.login("authenticator")) as connection:
        role = f"{installed.name}_ingest"
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            put(connection, ("a", "1-a", {}), headers=headers(1, 1, seq="1-x"))
            put(connection, ("a", "2-a", {}))
            cursor.execute(
                "insert into v1.dead_letters (fingerprint, source, database, code, reason)"
                " values ('f', 's', 'd', 'c', 'r') on conflict (fingerprint) do nothing"
            )
            cursor.execute(
                "insert into v1.replaced_values (fingerprint, source, database, doc_id, replaced, original)"
                " values ('f', 's', 'd', 'i', 1, '{}') on conflict (fingerprint) do nothing"
            )
        refused(
            connection,
            role,
            "delete from v1.medic",
            "truncate v1.medic",
            "update v1.couchdb_progress set seq = 'x'",
            "insert into v1.couchdb_progress (source) values ('x')",
            "select * from v1.cht_sync_state",
            "update v1.cht_sync_state set last_stamp = 'infinity'",
            "update v1.dead_letters set reason = ''",
            "delete from v1.dead_letters",
            "update v1.dead_letters set closed_at = now()",
            "update v1.replaced_values set replaced = 0",
            "delete from v1.replaced_values",
            "create table v1.mine ()",
            "create table dbt.mine ()",
            "alter table v1.medic disable trigger all",
            "create trigger mine before insert on v1.medic execute function v1.begin_write()",
            "select * from v1.all_documents",
        )


@pytest.fixture(params=["schemas apart", "one schema"])
def models_schema(request: pytest.FixtureRequest, empty: Installation) -> str:
    """The schema of the models, in an installation that has it apart from the documents or beside them."""
    schema = "dbt" if request.param == "schemas apart" else "v1"
    empty.init("medic medic-sentinel", DBT_POSTGRES_SCHEMA=schema)
    return schema


TABLES_OF_OURS = (
    "couchdb_progress",
    "cht_sync_state",
    "dead_letters",
    "replaced_values",
    "cht_sync_loads",
    "cht_sync_load_chunks",
    "cht_sync_heartbeats",
    "cht_sync_migrations",
)
VIEWS_OF_OURS = ("all_documents", "couchdb")


def test_without_a_token_nothing_is_seen(empty: Installation, models_schema: str) -> None:
    with closing(empty.login("authenticator")) as connection:
        refused(
            connection,
            f"{empty.name}_anon",
            READ,
            INSERT,
            *[f"select * from v1.{name}" for name in (*TABLES_OF_OURS, *VIEWS_OF_OURS)],
            "insert into v1.dead_letters (fingerprint) values ('x')",
            "select v1.percent_decoded('x')",
            f"create table {models_schema}.mine ()",
        )


def test_the_login_of_postgrest_has_no_rights_of_its_own(empty: Installation, models_schema: str) -> None:
    with closing(empty.login("authenticator")) as connection:
        refused(
            connection,
            None,
            READ,
            INSERT,
            *[f"select * from v1.{name}" for name in (*TABLES_OF_OURS, *VIEWS_OF_OURS)],
            f"create table {models_schema}.mine ()",
            f"set local role {empty.name}_dbt",
            f"set local role {empty.name}_superset",
            f"set local role {empty.server.user}",
        )


def test_nobody_who_comes_through_postgrest_can_speak_as_a_repair(installed: Installation) -> None:
    """PostgREST sets what a request says under names of its own; the word of a repair has another."""
    with closing(installed.connect()) as owner, owner:
        put(owner, headers=headers(1, 1))
    with closing(installed.login("authenticator")) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(f"{installed.name}_ingest")))
        with pytest.raises(psycopg2.Error) as refusal:
            put(connection, ("a", "1-a", {}), headers={"cht_sync.repair": "1", "cht-sync-repair": "true"})
    assert refusal.value.pgcode == "PT409"


FORGED = {
    "the word of a repair": ["set_config('cht_sync.repair', pg_current_xact_id()::text, true)"],
    "a stamp of its own": [
        "set_config('cht_sync.begun', concat_ws(' ', pg_current_xact_id(), 'v1.medic'::regclass::oid), true)",
        "set_config('cht_sync.stamp', '2000-01-01', true)",
        "set_config('cht_sync.source', '', true)",
    ],
    "the stamp of another": [
        "set_config('cht_sync.begun', concat_ws(' ', pg_current_xact_id(), 'v1.medic'::regclass::oid), true)",
        "set_config('cht_sync.stamp', (select max(saved_timestamp)::text from v1.medic), true)",
        "set_config('cht_sync.source', '', true)",
    ],
}


@pytest.mark.parametrize("forged", FORGED)
def test_who_has_the_password_of_postgrest_can_forge_neither_a_stamp_nor_a_repair(
    installed: Installation, forged: str
) -> None:
    with closing(installed.connect()) as owner, owner:
        put(owner, ("a", "1-a", {}), headers=headers(1, 1))
    with closing(installed.login("authenticator")) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(f"{installed.name}_ingest")))
        for statement in FORGED[forged]:
            cursor.execute(f"select {statement}")
        with pytest.raises(psycopg2.Error) as refusal:
            put(connection, ("b", "1-b", {}))
    assert refusal.value.pgcode in {"PT403", "PT409"}


def test_a_stamp_is_not_changed_between_two_statements(installed: Installation) -> None:
    with closing(installed.login("authenticator")) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(f"{installed.name}_ingest")))
        put(connection, ("a", "1-a", {}))
        cursor.execute("select set_config('cht_sync.stamp', '2000-01-01', true)")
        with pytest.raises(psycopg2.Error) as refusal:
            put(connection, ("b", "1-b", {}))
    assert refusal.value.pgcode == "PT403"


def test_dbt_reads_documents_and_owns_its_models(installed: Installation) -> None:
    with closing(installed.login("dbt")) as connection:
        with connection, connection.cursor() as cursor:
            for relation in (
                "medic",
                "all_documents",
                "couchdb",
                "couchdb_progress",
                "dead_letters",
                "replaced_values",
            ):
                cursor.execute(f"select * from v1.{relation}")
            cursor.execute("create table dbt.person as select _id from v1.all_documents")
        refused(
            connection,
            None,
            INSERT,
            "delete from v1.medic",
            "create table v1.mine ()",
            "drop view v1.couchdb",
        )


def test_dbt_changes_nothing_that_is_not_its_own_where_models_live_beside_the_documents(
    empty: Installation,
) -> None:
    empty.init("medic medic-sentinel", DBT_POSTGRES_SCHEMA="v1")
    with closing(empty.login("dbt")) as connection:
        with connection:
            connection.cursor().execute("create table v1.person as select _id from v1.all_documents")
        refused(
            connection,
            None,
            INSERT,
            "update v1.medic set doc = null",
            "delete from v1.medic",
            "drop table v1.medic",
            "alter table v1.medic add column mine text",
            "drop view v1.couchdb",
            "create or replace view v1.couchdb as select 1 as one",
            "create or replace function v1.begin_write() returns trigger language plpgsql as 'begin end'",
            "update v1.couchdb_progress set seq = '0'",
            "update v1.cht_sync_state set last_stamp = 'infinity'",
            "insert into v1.dead_letters (fingerprint) values ('x')",
            "drop schema v1 cascade",
            f"set local role {empty.server.user}",
            f"set local role {empty.name}_ingest",
        )


TRAPS = """
    create function v1.trap() returns text language plpgsql as
      $body$ begin raise exception 'trapped as %', current_user; end $body$;
    create function v1.array_to_string(text[], text) returns text language sql as 'select v1.trap()';
    create function v1.format(text, name) returns text language sql as 'select v1.trap()';
    create function v1.format(text, text) returns text language sql as 'select v1.trap()';
    create function v1.convert_to(text, text) returns bytea language sql as 'select v1.trap()::bytea';
    create function v1.joined(text[], text) returns text[] language sql as 'select array[v1.trap()]';
    create operator v1.|| (leftarg = text[], rightarg = text, function = v1.joined);
"""
"""Better matches than PostgreSQL's own, for arguments as our functions give them."""


def test_what_dbt_makes_beside_the_documents_never_runs_with_the_rights_of_the_owner(
    empty: Installation,
) -> None:
    empty.init("medic", DBT_POSTGRES_SCHEMA="v1")
    with closing(empty.login("dbt")) as dbt, dbt:
        dbt.cursor().execute(TRAPS)
    empty.query(
        "insert into v1.dead_letters (fingerprint, source, database, doc_id, code, reason)"
        " values ('f', 'couch/medic', 'medic', 'a', 'c', 'r')"
    )
    with closing(empty.login("authenticator")) as connection, connection, connection.cursor() as cursor:
        # PostgREST looks in the schema of the documents first.
        cursor.execute(
            sql.SQL("set local role {}; set local search_path = v1").format(
                sql.Identifier(f"{empty.name}_ingest")
            )
        )
        put(connection, ("a", "1-a", {}), headers={**headers(1, 1), "cht-sync-problem": "a%20b"})
    assert empty.value("select count(*) from v1.dead_letters where closed_at is null") == 0
    assert empty.value("select problem from v1.couchdb_progress") == "a b"
    empty.query(f"alter role {empty.server.user} in database {empty.name} set search_path = v1")
    assert empty.init("medic third", DBT_POSTGRES_SCHEMA="v1")[0] == "third: table made"


def test_superset_reads_models_and_nothing_else(empty: Installation, models_schema: str) -> None:
    with closing(empty.login("dbt")) as dbt, dbt:
        dbt.cursor().execute(
            f"create table {models_schema}.person as select _id from v1.all_documents;"
            f"create view {models_schema}.people as select * from {models_schema}.person"
        )
    with closing(empty.login("superset")) as connection:
        with connection:
            for model in ("person", "people"):
                connection.cursor().execute(f"select * from {models_schema}.{model}")
        refused(
            connection,
            None,
            READ,
            INSERT,
            'select * from v1."medic-sentinel"',
            *[f"select * from v1.{name}" for name in (*TABLES_OF_OURS, *VIEWS_OF_OURS)],
            f"insert into {models_schema}.person values ('x')",
            f"delete from {models_schema}.person",
            f"drop table {models_schema}.person",
            f"create table {models_schema}.mine ()",
            f"set local role {empty.name}_dbt",
            f"set local role {empty.name}_ingest",
        )
    empty.init("medic medic-sentinel later", DBT_POSTGRES_SCHEMA=models_schema)
    with closing(empty.login("superset")) as connection:
        refused(connection, None, READ, "select * from v1.later", "select * from v1.all_documents")


def test_two_installations_share_a_cluster(installed: Installation) -> None:
    with closing(installed.login("dbt")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select rolname from pg_roles where pg_has_role(rolname, 'member') and rolname <> current_user"
        )
        assert [name for (name,) in cursor.fetchall() if not name.startswith(installed.name)] == []


def test_roles_reach_a_database_that_public_may_not_connect_to(empty: Installation) -> None:
    empty.query(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(empty.name)))
    empty.init("medic", SUPERSET_METADATA_PASSWORD=empty.passwords["superset_metadata"])
    for role in ("authenticator", "dbt", "superset", "superset_metadata"):
        empty.login(role).close()
