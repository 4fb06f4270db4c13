"""Schemas and tables that somebody else made: they work, or the script says who must do what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from cht_sync.errors import ChtSyncError
from warehouse.installation import Installation, headers, plain_owner, put
from warehouse.test_layout_2023 import make_2023

Owner = tuple[str, str]


@pytest.fixture
def owner(empty: Installation) -> Iterator[Owner]:
    with plain_owner(empty) as owner:
        yield owner
        empty.query("drop schema if exists v1, dbt cascade")


@pytest.fixture
def dba(empty: Installation, owner: Owner) -> Iterator[str]:
    """A role that makes schemas and is no superuser."""
    name = f"{empty.name}_dba"
    empty.query(f"create role {name}; grant create on database {empty.name} to {name}")
    yield name
    empty.query(f"drop owned by {name} cascade; drop role {name}")


def refusal(installation: Installation, owner: Owner) -> str:
    roles = "select count(*) from pg_roles"
    before = installation.value(roles)
    with pytest.raises(ChtSyncError) as refused:
        installation.init("medic", owner=owner)
    assert installation.value(roles) == before
    return str(refused.value)


def works(installation: Installation, owner: Owner) -> None:
    """The script succeeds, documents can be written, models made and read."""
    installation.init("medic", owner=owner)
    assert installation.init("medic", owner=owner) == []
    with closing(installation.login("authenticator")) as writer, writer:
        writer.cursor().execute(f"set local role {installation.name}_ingest")
        put(writer, ("new", "1-a", {}), headers=headers(1, 1, seq="1-x"))
    with closing(installation.login("dbt")) as dbt, dbt:
        dbt.cursor().execute("create table dbt.model as select _id from v1.all_documents")
        dbt.cursor().execute("grant select on dbt.model to public")
    with closing(installation.login("superset")) as superset, superset, superset.cursor() as cursor:
        cursor.execute("select count(*) from dbt.model where _id = 'new'")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("schema", ["v1", "dbt"])
def test_a_schema_whose_rights_cannot_be_passed_on_is_refused_with_what_its_owner_must_do(
    empty: Installation, owner: Owner, dba: str, schema: str
) -> None:
    user, _ = owner
    empty.query(
        f"set role {dba}; create schema v1; create schema dbt;"
        f"grant all on schema v1, dbt to {user} with grant option;"
        f"revoke grant option for all on schema {schema} from {user}"
    )
    said = refusal(empty, owner)
    assert f"schema {schema} belongs to {dba}" in said
    remedy = f"grant all on schema {schema} to {user} with grant option"
    assert remedy in said
    empty.query(f"set role {dba}; {remedy}")
    works(empty, owner)


def test_a_schema_that_may_not_be_used_is_named_with_its_owner_and_the_ways_on(
    empty: Installation, owner: Owner, dba: str
) -> None:
    user, _ = owner
    empty.query(f"set role {dba}; create schema v1; create table v1.couchdb (doc jsonb)")
    said = refusal(empty, owner)
    assert f"the schema v1, which POSTGRES_SCHEMA names, belongs to {dba}, and {user} may not use it" in said
    assert 'give POSTGRES_SCHEMA another name: docs/migrating.md, "cht-sync 2: two schemas"' in said
    remedy = f"grant all on schema v1 to {user} with grant option"
    assert remedy in said
    empty.query(f"set role {dba}; drop table v1.couchdb; {remedy}")
    works(empty, owner)


def test_schemas_of_the_owner_that_were_there_before_are_used(empty: Installation, owner: Owner) -> None:
    user, _ = owner
    empty.query(f"create schema v1 authorization {user}; create schema dbt authorization {user}")
    works(empty, owner)


def test_an_owner_that_may_make_no_schemas_is_told_by_whom_it_may(empty: Installation, owner: Owner) -> None:
    user, _ = owner
    empty.query(f"alter database {empty.name} owner to {empty.server.user}")
    remedy = f"grant create on database {empty.name} to {user}"
    assert f"let {empty.server.user}, or a superuser, run: {remedy}" in refusal(empty, owner)
    empty.query(remedy)
    works(empty, owner)


@pytest.mark.parametrize("table", ["couchdb", "medic"])
def test_a_table_of_2023_of_somebody_else_is_refused_with_what_its_owner_must_do(
    empty: Installation, owner: Owner, dba: str, table: str
) -> None:
    user, _ = owner
    make_2023(empty, table)
    empty.query(f"alter schema v1 owner to {user}; alter table v1.{table} owner to {dba}")
    remedy = f"alter table v1.{table} owner to {user}"
    said = refusal(empty, owner)
    assert f"v1.{table} belongs to {dba}: let {dba}, or a superuser, run: {remedy}" in said
    empty.query(remedy)
    works(empty, owner)


def test_a_table_of_ours_that_was_given_to_somebody_else_is_refused(
    empty: Installation, owner: Owner, dba: str
) -> None:
    user, _ = owner
    empty.init("medic", owner=owner)
    empty.query(f"alter table v1.dead_letters owner to {dba}; alter table v1.medic owner to {dba}")
    said = refusal(empty, owner)
    for table in ("dead_letters", "medic"):
        remedy = f"alter table v1.{table} owner to {user}"
        assert remedy in said
        empty.query(remedy)
    works(empty, owner)


def test_the_models_schema_is_opened_again_to_the_models_role(empty: Installation, owner: Owner) -> None:
    empty.init("medic", owner=owner)
    empty.query(f"revoke all on schema dbt from {empty.name}_dbt")
    works(empty, owner)
