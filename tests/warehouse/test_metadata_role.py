"""Superset's own tables: a role and a schema for them, where they are asked for."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg2 import sql

from warehouse.installation import Installation, plain_owner
from warehouse.test_roles import READ, refused

SCHEMA = "superset_metadata"
STATE = """
    select array_agg(format('%s %s %s', nspname, nspowner::regrole, nspacl) order by nspname)
      from pg_namespace where nspname !~ '^pg_'
    union all
    select array_agg(format('%s %s %s %s', rolname, rolcanlogin, rolinherit, rolconfig) order by rolname)
      from pg_roles
    union all
    select array_agg(format('%s %s', roleid::regrole, member::regrole) order by 1) from pg_auth_members
"""


def wanted(installation: Installation) -> dict[str, str]:
    return {"SUPERSET_METADATA_PASSWORD": installation.passwords["superset_metadata"]}


@pytest.fixture
def with_metadata(empty: Installation) -> Installation:
    empty.init("medic", **wanted(empty))
    with closing(empty.login("superset_metadata")) as superset, superset:
        superset.cursor().execute("create table logs (line text)")
    return empty


def test_it_is_made_only_when_it_is_asked_for(installed: Installation) -> None:
    role = f"{installed.name}_superset_metadata"
    assert installed.query("select 1 from pg_roles where rolname = %s", role) == []
    assert installed.query("select 1 from pg_namespace where nspname = %s", SCHEMA) == []


def test_its_tables_are_in_a_schema_of_its_own(with_metadata: Installation) -> None:
    owner = with_metadata.query(
        "select relnamespace::regnamespace::text, relowner::regrole::text"
        " from pg_class where relname = 'logs'"
    )
    assert owner == [(SCHEMA, f"{with_metadata.name}_superset_metadata")]


@pytest.mark.parametrize("role", ["superset", "dbt", "authenticator"])
def test_no_other_role_reads_its_tables(with_metadata: Installation, role: str) -> None:
    with closing(with_metadata.login(role)) as connection:
        refused(
            connection,
            None,
            f"select * from {SCHEMA}.logs",
            f"create table {SCHEMA}.mine ()",
            f"set local role {with_metadata.name}_superset_metadata",
        )


def test_it_reads_neither_documents_nor_models(with_metadata: Installation) -> None:
    with closing(with_metadata.login("dbt")) as dbt, dbt:
        dbt.cursor().execute("create table dbt.person as select _id from v1.all_documents")
    with closing(with_metadata.login("superset_metadata")) as connection:
        refused(
            connection,
            None,
            READ,
            "select * from v1.couchdb_progress",
            "select * from dbt.person",
            "create table dbt.mine ()",
            "create table v1.mine ()",
            *[f"set local role {with_metadata.name}_{other}" for other in ("dbt", "ingest", "superset")],
        )


def test_a_second_run_leaves_it_as_it_is(with_metadata: Installation) -> None:
    before = with_metadata.query(STATE)
    assert with_metadata.init("medic", **wanted(with_metadata)) == []
    assert with_metadata.query(STATE) == before
    assert with_metadata.init("medic") == []
    assert with_metadata.query(STATE) == before


def test_an_owner_that_is_no_superuser_makes_it(empty: Installation) -> None:
    with plain_owner(empty) as owner:
        for _again in range(2):
            empty.init("medic", owner=owner, **wanted(empty))
        with closing(empty.login("superset_metadata")) as superset, superset:
            superset.cursor().execute("create table logs (line text)")


def test_a_schema_of_somebody_else_is_refused(empty: Installation) -> None:
    empty.query(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
    said = empty.refusal("medic", **wanted(empty))
    assert f"alter schema {SCHEMA} owner to {empty.name}_superset_metadata" in said


@pytest.mark.parametrize("setting", ["POSTGRES_SCHEMA", "DBT_POSTGRES_SCHEMA"])
def test_no_other_schema_has_its_name(empty: Installation, setting: str) -> None:
    assert f"choose another {setting}" in empty.refusal("medic", **wanted(empty), **{setting: SCHEMA})
