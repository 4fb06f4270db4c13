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


def test_without_a_token_nothing_is_seen(installed: Installation) -> None:
    with closing(installed.login("authenticator")) as connection:
        refused(connection, f"{installed.name}_anon", READ, INSERT, "select * from v1.couchdb_progress")


def test_the_login_of_postgrest_has_no_rights_of_its_own(installed: Installation) -> None:
    with closing(installed.login("authenticator")) as connection:
        refused(
            connection,
            None,
            READ,
            INSERT,
            "select * from v1.dead_letters",
            f"set local role {installed.name}_dbt",
            f"set local role {installed.server.user}",
        )


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


def test_superset_reads_models_and_nothing_else(installed: Installation) -> None:
    with closing(installed.login("dbt")) as dbt, dbt:
        dbt.cursor().execute("create table dbt.person as select _id from v1.all_documents")
    with closing(installed.login("superset")) as connection:
        with connection:
            connection.cursor().execute("select * from dbt.person")
        refused(
            connection,
            None,
            READ,
            "select * from v1.all_documents",
            "delete from dbt.person",
            "create table dbt.mine ()",
        )


def test_two_installations_share_a_cluster(installed: Installation) -> None:
    with closing(installed.login("dbt")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select rolname from pg_roles where pg_has_role(rolname, 'member') and rolname <> current_user"
        )
        assert [name for (name,) in cursor.fetchall() if not name.startswith(installed.name)] == []
