"""postgres/init-db-resources.sh: what it makes, and what it leaves alone."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from psycopg2 import sql

from warehouse.installation import Installation, put

HARD_NAMES = ("a+b/$()x", "_users", "medic-sentinel", "x" * 63, "x" * 62)

EVERYTHING = """
    select array_agg(format('%s %s %s', oid::regclass, relkind, relacl) order by oid)
      from pg_class where relnamespace = 'v1'::regnamespace
    union all select array_agg(format('%s %s', oid, tgname) order by oid) from pg_trigger
    union all select array_agg(pg_get_viewdef(oid) order by oid) from pg_class
      where relnamespace = 'v1'::regnamespace and relkind = 'v'
    union all select array_agg(format('%s %s', roleid::regrole, member::regrole) order by 1)
      from pg_auth_members
    union all select array_agg(defaclacl::text) from pg_default_acl
"""


def views(installation: Installation, name: str) -> set[str]:
    """The tables that a view reads."""
    return {
        table
        for (table,) in installation.query(
            "select table_name from information_schema.view_table_usage where view_name = %s", name
        )
    }


def test_a_second_run_changes_nothing(installed: Installation) -> None:
    with installed.connected() as connection, connection:
        put(connection, ("a", "1-a", {"n": 1}))
    before = installed.query(EVERYTHING)
    rows = installed.query("select ctid, xmin, * from v1.medic")
    installed.init("medic medic-sentinel")
    assert installed.query(EVERYTHING) == before
    assert installed.query("select ctid, xmin, * from v1.medic") == rows


def test_a_second_run_does_not_wait_for_readers_of_the_documents(installed: Installation) -> None:
    with installed.connected() as reader, reader, reader.cursor() as cursor:
        cursor.execute('select 1 from v1.medic, v1."medic-sentinel"')
        installed.init("medic medic-sentinel", PGOPTIONS="-c lock_timeout=2s")


def test_runs_at_the_same_time_all_succeed(empty: Installation) -> None:
    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(empty.init, "medic medic-sentinel") for _ in range(4)]:
            run.result()
    assert views(empty, "all_documents") == {"medic", "medic-sentinel"}


def test_hard_names_become_tables_of_exactly_that_name(empty: Installation) -> None:
    empty.init(" ".join(HARD_NAMES))
    for number, name in enumerate(HARD_NAMES):
        with empty.connected() as connection, connection:
            put(connection, (f"in {number}", "1-a", {}), table=name)
        table = sql.Identifier("v1", name)
        assert empty.value(sql.SQL("select _id from {}").format(table)) == f"in {number}"
        assert (
            empty.value(
                "select count(*) from pg_indexes where tablename = %s and indexdef ~ 'saved_timestamp.$'",
                name,
            )
            == 1
        )
    assert views(empty, "all_documents") == set(HARD_NAMES)
    assert empty.value("select count(*) from v1.couchdb") == len(HARD_NAMES)
    before = empty.query(EVERYTHING)
    empty.init(" ".join(HARD_NAMES))
    assert empty.query(EVERYTHING) == before


@pytest.mark.parametrize(
    ("databases", "settings", "named"),
    [
        ("medic all_documents", {}, "all_documents"),
        ("couchdb_progress", {}, "couchdb_progress"),
        ("cht_sync_state", {}, "cht_sync_state"),
        ("medic,dead_letters", {}, "dead_letters"),
        ("replaced_values", {}, "replaced_values"),
        ("x" * 64, {}, "63 bytes"),
        ("Medic", {}, "Medic"),
        ("1medic", {}, "1medic"),
        ("medic žluť", {}, "žluť"),
        ('medic";drop', {}, "drop"),
        ("medic", {"POSTGRES_TABLE": "dead_letters"}, "POSTGRES_TABLE"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_changed(
    empty: Installation, databases: str, settings: dict[str, str], named: str
) -> None:
    assert named in empty.refusal(databases, **settings)
    assert not empty.query("select 1 from pg_namespace where nspname = 'v1'")
    assert not empty.query("select 1 from pg_roles where rolname = %s", f"{empty.name}_ingest")


def test_a_database_that_a_newer_version_made_is_refused(installed: Installation) -> None:
    installed.query("update v1.cht_sync_state set layout_version = '0.10.0'")
    before = installed.query(EVERYTHING)
    assert "newer" in installed.refusal("medic")
    assert installed.query(EVERYTHING) == before


def test_a_missing_setting_is_named(empty: Installation) -> None:
    assert "COUCHDB_DBS" in empty.refusal("")


@pytest.mark.parametrize("password", ["o'clock", '"; drop schema v1; --', r"back\slash $$ %s `id`", " ž "])
def test_any_password_is_taken_as_it_is(empty: Installation, password: str) -> None:
    empty.passwords = dict.fromkeys(("authenticator", "dbt", "superset"), password)
    empty.init()
    for role in ("authenticator", "dbt", "superset"):
        empty.login(role).close()


def test_a_database_that_is_added_gets_its_table_and_its_place_in_the_views(empty: Installation) -> None:
    empty.init("medic")
    empty.init("medic medic-sentinel")
    for view in ("all_documents", "couchdb"):
        assert views(empty, view) == {"medic", "medic-sentinel"}
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}), table="medic-sentinel")


def test_a_database_that_is_removed_keeps_its_table_and_leaves_the_views(installed: Installation) -> None:
    with installed.connected() as connection, connection:
        put(connection, ("a", "1-a", {}), table="medic-sentinel")
    installed.init("medic")
    assert views(installed, "all_documents") == {"medic"}
    assert installed.value('select _id from v1."medic-sentinel"') == "a"


def test_postgres_table_may_name_a_synced_database(empty: Installation) -> None:
    empty.init("medic medic-sentinel", POSTGRES_TABLE="medic")
    assert empty.value("select relkind from pg_class where oid = 'v1.medic'::regclass") == "r"
    assert views(empty, "all_documents") == {"medic", "medic-sentinel"}


def test_postgres_table_that_becomes_the_name_of_a_database_becomes_its_table(empty: Installation) -> None:
    empty.init("medic")
    empty.init("medic couchdb")
    assert empty.value("select relkind from pg_class where oid = 'v1.couchdb'::regclass") == "r"


def test_postgres_table_that_names_a_database_no_longer_synced_is_refused(installed: Installation) -> None:
    assert "synced no longer" in installed.refusal("medic", POSTGRES_TABLE="medic-sentinel")
    assert views(installed, "all_documents") == {"medic", "medic-sentinel"}


def test_a_document_is_once_in_the_view_that_models_read_whatever_its_name(empty: Installation) -> None:
    empty.init("medic", POSTGRES_TABLE="all_documents")
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}))
    assert empty.query("select _id from v1.all_documents") == [("a",)]


def test_an_owner_that_is_no_superuser_suffices(empty: Installation) -> None:
    owner = f"{empty.name}_owner"
    empty.query(
        f"create role {owner} login createrole password 'secret';alter database {empty.name} owner to {owner}"
    )
    try:
        for _ in range(2):
            empty.init("medic", owner=(owner, "secret"))
        assert empty.value("select nspowner::regrole::text from pg_namespace where nspname = 'dbt'").endswith(
            "_dbt"
        )
    finally:
        empty.drop_roles()
        empty.query(f"reassign owned by {owner} to {empty.server.user}")
        empty.query(f"drop owned by {owner}; drop role {owner}")


def test_models_may_live_beside_the_documents(empty: Installation) -> None:
    empty.init("medic", DBT_POSTGRES_SCHEMA="v1")
    dbt = empty.login("dbt")
    with dbt, dbt.cursor() as cursor:
        cursor.execute("create table v1.document_metadata as select _id from v1.all_documents")
    dbt.close()
    superset = empty.login("superset")
    with superset, superset.cursor() as cursor:
        cursor.execute("select * from v1.document_metadata")
    with superset, superset.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute("select * from v1.medic")
    superset.close()


def test_schemas_of_any_name(empty: Installation) -> None:
    schema = f'Strange "{secrets.token_hex(2)}" schéma'
    for _ in range(2):
        empty.init("medic", POSTGRES_SCHEMA=schema, DBT_POSTGRES_SCHEMA=f"{schema} dbt")
    assert empty.query(sql.SQL("select _id from {}").format(sql.Identifier(schema, "all_documents"))) == []
