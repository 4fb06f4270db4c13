"""What others have written in SQL does not run with the rights of POSTGRES_USER, whatever they call it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_fixture import PostgresServer
from warehouse.installation import Installation

from cht_sync.migrate.compared_views import ViewFinding, compare_views
from cht_sync.migrate.old import Program
from cht_sync.transform.couch2pg import MARK, SCHEMA
from cht_sync.warehouse.connection import owner_endpoint
from migrate.both import Both, of_plain_owner
from migrate.country import Country

WRITTEN = """
    create role {role}; create schema an authorization {role};
    grant create, usage on schema public to {role};
    set role {role};
    create sequence an.calls;
    create function an.called(text) returns text language sql volatile
      as $body$ select $1 || left(nextval('an.calls')::text, 0) $body$;
    grant usage on schema an to public;
    grant all on an.calls to public;
"""
"""A function that leaves a trace also where what it did is undone: sequences know of no transactions."""


class Analyst:
    """A role with a schema of its own that may make functions in `public`: before PostgreSQL 15 all may."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.role = f"{installation.name}_analyst"
        installation.query(WRITTEN.format(role=self.role))

    def writes(self, statements: str) -> None:
        self._installation.query(f"set role {self.role}; {statements}")

    def was_obeyed(self) -> bool:
        """Whether anybody has run what the analyst wrote."""
        ((is_called,),) = self._installation.query("select is_called from an.calls")
        return bool(is_called)

    def leaves(self) -> None:
        self._installation.query(f"drop owned by {self.role} cascade; drop role {self.role}")


@pytest.fixture
def analyst(both: Both) -> Iterator[Analyst]:
    made = Analyst(both.installation)
    yield made
    made.leaves()


@pytest.fixture
def analyst_of_country(country: Country) -> Iterator[Analyst]:
    country.medic.put("one", "two")
    country.couch2pg()
    made = Analyst(country.medic.installation)
    yield made
    made.leaves()


def compared(both: Both) -> dict[str, ViewFinding]:
    with owner_endpoint(both.settings).connect() as connection:
        found = compare_views(
            connection, old_schema="public", new_schema=SCHEMA, old_program=Program.COUCH2PG
        )
    return {one.name: one for one in found}


@pytest.mark.parametrize(
    "progress",
    [
        "create view an.couchdb_progress as select an.called('1-x') as seq, '127.0.0.1/medic' as source",
        """
        create type an.seq as enum ('1-x');
        create function an.as_text(an.seq) returns text language sql as $body$ select an.called('1-x') $body$;
        create cast (an.seq as text) with function an.as_text (an.seq);
        create table an.couchdb_progress (seq an.seq, source text);
        insert into an.couchdb_progress values ('1-x', '127.0.0.1/medic')
        """,
    ],
)
def test_what_others_call_a_progress_is_not_read(
    country: Country, analyst_of_country: Analyst, progress: str
) -> None:
    analyst_of_country.writes(f"""
        create table an.couchdb (doc jsonb); {progress}; grant select on all tables in schema an to public
    """)
    for words in (["plan"], ["plan", "--from", "public"], ["run", "--from", "public"], ["check"]):
        country.run(*words)
    assert not analyst_of_country.was_obeyed()
    assert country.is_complete()


def test_a_function_that_matches_better_than_postgresqls_own_is_not_called(
    country: Country, analyst_of_country: Analyst
) -> None:
    analyst_of_country.writes("""
        create function public.strpos(name, text) returns int language sql volatile
          as $body$ select length(an.called($1::text)) $body$
    """)
    for command in ("plan", "run", "check"):
        assert country.run(command).exit_code == 0
    assert not analyst_of_country.was_obeyed()


def test_a_schema_that_others_call_ours_is_neither_used_nor_called(
    country: Country, analyst_of_country: Analyst
) -> None:
    assert country.run("run").exit_code == 0
    role = analyst_of_country.role
    country.query(f"create schema couch2pg authorization {role}; comment on schema couch2pg is '{MARK}'")
    analyst_of_country.writes("""
        create function couch2pg.refresh_matviews() returns int language sql
          as $body$ select length(an.called('x')) $body$;
        grant usage on schema couch2pg to public
    """)
    country.run("check")
    refused = country.run("views")
    assert refused.exit_code == 1
    assert "the schema couch2pg is there, and was not made by this command" in refused.stderr
    assert country.run("views", "--drop").exit_code == 1
    assert not analyst_of_country.was_obeyed()


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_the_text_of_a_view_means_the_same_functions_when_it_is_read_again(
    both: Both, analyst: Analyst, kind: str
) -> None:
    both.query(f"create {kind} own as select to_jsonb(doc ->> '_id') as id from couchdb")
    analyst.writes("""
        create function public.to_jsonb(text) returns jsonb language sql volatile
          as $body$ select pg_catalog.to_jsonb(an.called($1)) $body$
    """)
    assert both.migrate().failed == []
    assert compared(both)["own"].same
    assert not analyst.was_obeyed()


@pytest.fixture
def plain(postgres_server: PostgresServer, database: str, tmp_path: Path) -> Iterator[Both]:
    """Both schemas, of an owner for whom policies count."""
    with of_plain_owner(Installation(postgres_server, database), tmp_path) as both:
        yield both
        both.query("drop schema if exists couch2pg cascade")


@pytest.mark.parametrize(("kind", "is_made"), [("view", True), ("materialized view", False)])
def test_policies_of_others_are_not_asked(plain: Both, kind: str, is_made: bool) -> None:
    analyst = Analyst(plain.installation)
    analyst.writes("""
        create table an.names (id text, name text); insert into an.names values ('x', 'y');
        alter table an.names enable row level security;
        create policy theirs on an.names using (an.called(id) is not null);
        grant select on an.names to public
    """)
    plain.query(f"create {kind} named as select name from couchdb left join an.names on id = doc ->> '_id'")
    said = [one for one in plain.migrate().failed if one.startswith("named: ")]
    assert (said == []) is is_made
    assert all("row-level security" in one for one in said)
    assert compared(plain)["named"].only_old is None
    assert not analyst.was_obeyed()
    plain.query("drop view if exists couch2pg.named; drop " + f"{kind} named")
    analyst.leaves()


def test_an_old_table_with_policies_is_told_and_not_read(
    country: Country, analyst_of_country: Analyst
) -> None:
    reader = f"{country.medic.installation.name}_reader"
    country.query(f"""
        create role {reader} login password 'reader'; grant select on couchdb, couchdb_progress to {reader};
        grant usage on schema v1 to {reader};
        alter table couchdb enable row level security;
        create policy theirs on couchdb using (an.called(doc ->> '_id') is not null)
    """)
    try:
        told = country.with_settings(POSTGRES_USER=reader, POSTGRES_PASSWORD="reader").run("plan")
    finally:
        country.query(f"drop owned by {reader}; drop role {reader}")
    assert told.exit_code == 1
    assert "row-level security" in told.stderr
    assert "bypassrls" in told.stderr
    assert not analyst_of_country.was_obeyed()
