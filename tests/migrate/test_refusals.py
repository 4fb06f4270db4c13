"""What `cht-sync migrate` refuses, before anything is changed, and what it says of sequences."""

from __future__ import annotations

import json

import pytest
from psycopg2 import sql
from waiting import eventually

from cht_sync.migrate.old import OldSource
from cht_sync.migrate.plan import moves as moves_in
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from migrate.country import OLD_SCHEMA, Country

IDS = [f"{number:04x}" for number in range(20)]


def refused(country: Country, *words: str, code: int = 1) -> str:
    """What is said of a run that is refused; nothing is written then."""
    result = country.run(*(words or ("run",)))
    assert result.exit_code == code, result.output
    assert all(world.rows() == {} for world in country.worlds)
    return result.output


def test_without_tables_of_an_earlier_program_there_is_nothing_to_move(country: Country) -> None:
    assert "has no table of couch2pg, cht-sync 2 or cht-sync of 2023" in refused(country)
    assert "schema nowhere has no table" in refused(country, "plan", "--from", "nowhere")


def test_where_two_programs_have_tables_one_must_be_named(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.cht_sync_2()
    said = refused(country, code=2)
    assert "couch2pg in schema public" in said and "cht-sync 2 in schema old_v1" in said
    assert "--from SCHEMA" in said
    assert country.run("run", "--from", OLD_SCHEMA).exit_code == 0
    assert country.is_complete()


@pytest.mark.parametrize("shape", ["couch2pg", "cht_sync_2"])
def test_rows_of_another_host_are_not_taken_without_a_word(country: Country, shape: str) -> None:
    country.medic.put(*IDS)
    country.was_read_by(shape)
    schema = "public" if shape == "couch2pg" else OLD_SCHEMA
    country.query(f"update {schema}.couchdb_progress set source = replace(source, '127.0.0.1', 'couch.old')")
    if shape == "cht_sync_2":
        country.query(f"update {schema}.couchdb set source = replace(source, '127.0.0.1', 'couch.old')")
    said = refused(country, code=2)
    assert "has read couch.old, and COUCHDB_HOST says 127.0.0.1" in said
    assert "--old-host couch.old" in said
    result = country.run("run", "--old-host", "couch.old")
    assert result.exit_code == 0
    assert country.is_complete()
    sources = country.query("select distinct source from v1.all_documents")
    assert {source.partition("/")[0] for (source,) in sources} == {"127.0.0.1"}


def test_rows_of_other_servers_in_the_same_table_are_left(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    country.query(
        f"insert into {OLD_SCHEMA}.couchdb values (now(), 'other', false, %s, %s)",
        f"elsewhere/{country.medic.database}",
        json.dumps({"_id": "other", "_rev": "1-0"}),
    )
    country.query(
        f"insert into {OLD_SCHEMA}.couchdb_progress values ('1', 0, now(), %s)",
        f"elsewhere/{country.medic.database}",
    )
    assert country.run("run").exit_code == 0
    assert country.is_complete()


def test_a_database_that_was_read_already_is_refused(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.medic.load_until(
        lambda: country.query("select 1 from v1.couchdb_progress where caught_up_at is not null") != []
    )
    before = country.versions()
    result = country.run("run", "--database", country.medic.database)
    assert result.exit_code == 1
    assert "its pipeline has read it, so that there is nothing to take over" in result.output
    assert "cht-sync migrate check" in result.output
    assert country.versions() == before


def test_a_database_that_was_loaded_already_is_refused(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    assert country.medic.run("load", country.medic.database, "--workers", "1").exit_code == 0
    result = country.run("run", "--database", country.medic.database)
    assert result.exit_code == 1
    assert "cht-sync load has read it" in result.output


def test_a_database_that_is_not_synced_is_left_and_named(country: Country) -> None:
    country.medic.put(*IDS)
    country.sentinel.put("only-in-sentinel")
    country.couch2pg()
    fewer = country.with_settings(COUCHDB_DBS=country.medic.database)
    result = fewer.run("run")
    assert result.exit_code == 0
    assert country.medic.rows() == country.medic.winners()
    assert country.sentinel.rows() == {}
    assert f"public.couchdb: left: rows of {country.sentinel.database}, not in COUCHDB_DBS" in result.output
    check = fewer.run("check")
    assert check.exit_code == 0
    assert "unknown to CouchDB" in check.output and "only-in-sentinel" in check.output


def test_elastics_logstash_keeps_its_own_position(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    said = refused(country.with_settings(PIPELINE_ENGINE="logstash"), code=2)
    assert "PIPELINE_ENGINE=logstash keeps its position in a file" in said


def test_an_installation_without_our_tables_is_told_to_make_them(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("drop table v1.cht_sync_migrations")
    assert "Before it: cht-sync init-db" in country.run("plan").output
    assert "cht-sync init-db" in refused(country)


def test_couchdb_that_is_away_is_told_and_nothing_is_begun(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    result = country.with_settings(COUCHDB_PORT="1").run("run")
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
    assert "Check COUCHDB_HOST and COUCHDB_PORT" in result.output
    assert country.query("select count(*) from v1.cht_sync_migrations") == [(0,)]


@pytest.mark.parametrize(
    "command", [("migrate", "plan"), ("verify",), ("load", "DATABASE", "--workers", "1")]
)
def test_what_couchdb_refuses_is_told_in_the_words_of_the_settings(
    country: Country, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    country.medic.put(*IDS)
    country.couch2pg()
    words = [country.medic.database if word == "DATABASE" else word for word in command]
    wrong = country.with_settings(COUCHDB_PASSWORD=f"not for {words[0]}").medic
    assert "Correct COUCHDB_USER and COUCHDB_PASSWORD" in wrong.run(*words).output
    client = country.medic
    client.ask("DELETE", "")
    said = client.run(*words).output
    client.ask("PUT", "")
    assert "Create the database, or correct COUCHDB_DBS" in said


def test_a_postgresql_database_that_is_not_there_is_told_with_its_setting(country: Country) -> None:
    result = country.with_settings(POSTGRES_DB="nowhere").run("plan")
    assert result.exit_code == 1
    assert "POSTGRES_DB" in result.output


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ("0", "has read nothing yet"),
        ("999999999", "is beyond what this CouchDB has written"),
        ("12-g1AAAA", "is of another kind of server"),
        ("now", "now is no sequence of CouchDB"),
        ("-g1AAAA", "-g1AAAA is no sequence of CouchDB"),
        ("", "the sequence that the earlier program has left is empty"),
    ],
)
def test_a_sequence_that_is_not_valid_is_not_kept_and_all_is_read_that_differs(
    country: Country, sequence: str, reason: str
) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("update couchdb_progress set seq = %s", sequence)
    country.medic.put(IDS[0], "new")
    country.medic.delete(IDS[1])
    plan = country.run("plan")
    assert reason in plan.output
    assert "all revisions are compared with CouchDB's" in plan.output
    result = country.run("run")
    assert result.exit_code == 0
    assert f"{country.medic.database}: no sequence is kept: " in result.output and reason in result.output
    assert "goes on from now" in result.output
    assert country.is_complete()


def test_what_was_written_before_the_pipeline_starts_is_there_where_the_old_sequence_was_none(
    country: Country,
) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("update couchdb_progress set seq = 'now'")
    assert country.run("run").exit_code == 0
    country.medic.put("between")
    with country.medic.pipeline():
        eventually(lambda: country.medic.rows() == country.medic.winners())


def test_the_first_progress_of_couch2pg_names_no_source(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("drop table couchdb_progress; create table couchdb_progress (seq int)")
    country.query("insert into couchdb_progress values (7)")
    assert country.run("run").exit_code == 0
    assert country.is_complete()


@pytest.mark.parametrize(
    ("name", "host", "database"),
    [
        ("localhost:5984/medic", "localhost", "medic"),
        ("couch.example.org/medic-sentinel", "couch.example.org", "medic-sentinel"),
        ("couch.example.org/behind/proxy/medic", "couch.example.org", "medic"),
        ("[::1]:5984/medic", "[::1]", "medic"),
        ("couch/a%2Fb", "couch", "a/b"),
        ("default-source", "", ""),
    ],
)
def test_a_source_names_a_host_and_a_database(name: str, host: str, database: str) -> None:
    source = OldSource(name, "1")
    assert (source.host, source.database) == (host, database)


def test_a_table_that_may_not_be_read_is_named_with_what_to_do(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    installation = country.medic.installation
    country.query(f"create role {installation.name}_stranger login password 'stranger'")
    try:
        strange = country.with_settings(
            POSTGRES_USER=f"{installation.name}_stranger", POSTGRES_PASSWORD="stranger"
        )
        result = strange.run("run")
        assert result.exit_code == 1
        assert "public.couchdb_progress belongs to" in result.output
        assert "grant select on all tables in schema public to" in result.output
    finally:
        country.query(f"drop role {installation.name}_stranger")


def test_each_table_of_couch2pg_is_that_of_its_databases(country: Country) -> None:
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    moves = moves_in(country.medic.settings, None, None)
    assert {move.database: move.table.name for move in moves.moves} == {
        country.medic.database: "couchdb",
        country.sentinel.database: "couchdb",
        country.users_meta.database: "couchdb_users_meta",
    }


def test_a_database_without_old_rows_is_left_to_its_pipeline_and_named(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg(of=[country.medic])
    result = country.run("run")
    assert result.exit_code == 0
    said = (
        f"{country.users_meta.database}: public.couchdb_progress does not name it, "
        "so its pipeline reads it from CouchDB"
    )
    assert said in result.output and said in country.run("plan").output


def test_a_database_of_an_empty_table_has_no_rows(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    said = f"{country.users_meta.database}: no rows of couch2pg; its pipeline reads it from CouchDB"
    assert said in country.run("plan").output


def test_a_database_whose_old_table_was_dropped_after_its_move_was_moved_already(country: Country) -> None:
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    assert country.run("run").exit_code == 0
    country.query("drop table couchdb_users_meta cascade")
    for command in ("plan", "run"):
        said = country.run(command).output
        assert f"{country.users_meta.database}: was moved already" in said
        assert "reads it from CouchDB" not in said
    country.query("drop table couchdb cascade")
    said = country.run("run").output
    assert f"Moved already: {', '.join(country.databases)}; compare with CouchDB: cht-sync verify" in said


def half_moved(country: Country) -> str:
    """Move all but a part of users-meta; return what is to be said of that one without its table."""
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    database = country.users_meta.database
    assert country.run("run").exit_code == 0
    country.query("update v1.cht_sync_migrations set ended_at = null where database = %s", database)
    country.query("delete from v1.cht_sync_loads where source ~ %s", f"/{database}$")
    country.users_meta.forget("telemetry")
    return f"{database}: its rows of public.couchdb_users_meta are not all moved"


def test_a_half_moved_database_whose_table_is_gone_is_told_with_the_command_that_helps(
    country: Country,
) -> None:
    said = half_moved(country)
    country.query("drop table couchdb_users_meta cascade")
    load = f"cht-sync load {country.users_meta.database}"
    plan = country.run("plan").output
    assert said in plan and load in plan
    assert "All of it is done" not in plan and "its pipeline reads it" not in plan
    assert "Nothing else is left to be moved" in plan
    check = country.run("check")
    assert check.exit_code == 3
    assert said in check.output and load in check.output
    assert "cht-sync migrate run" not in check.output
    assert country.users_meta.run("load", country.users_meta.database, "--workers", "1").exit_code == 0
    assert country.is_complete()
    assert "All of it is done" in country.run("plan").output


@pytest.mark.parametrize("command", ["plan", "run", "check"])
def test_a_half_moved_database_is_named_where_all_old_tables_are_empty(
    country: Country, command: str
) -> None:
    said = half_moved(country)
    country.query("drop table couchdb_users_meta cascade; truncate couchdb")
    result = country.run(command)
    assert result.exit_code == 1
    assert said in result.output and f"cht-sync load {country.users_meta.database}" in result.output
    assert "Its tables are empty" not in result.output


def test_names_in_commands_are_quoted_for_the_shell_and_for_sql(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    country.query(f'alter schema {OLD_SCHEMA} rename to "Old Schema"')
    said = country.run("plan", "--from", "Old Schema").output
    assert "To do it: cht-sync migrate run --from 'Old Schema' --env gamma" in said
    role = reader(country)
    try:
        said = as_role(country, role).run("plan", "--from", "Old Schema").output
        assert f'grant usage on schema "Old Schema" to {role}' in said
        assert f'grant select on all tables in schema "Old Schema" to {role}' in said
    finally:
        country.query(f"drop owned by {role}; drop role {role}")


def reader(country: Country) -> str:
    """A role that logs in and may use nothing but public, which it shares with everybody."""
    role = f"{country.medic.installation.name}_reader"
    country.query(f"create role {role} login password 'reader'")
    return role


def as_role(country: Country, role: str) -> Country:
    return country.with_settings(POSTGRES_USER=role, POSTGRES_PASSWORD="reader")


def test_whose_schema_is_closed_to_the_owner_of_its_tables_needs_that_right_alone(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    role = reader(country)
    try:
        for table in ("couchdb", "couchdb_progress"):
            country.query(f"alter table {OLD_SCHEMA}.{table} owner to {role}")
        result = as_role(country, role).run("plan")
        assert result.exit_code == 1
        owner = country.medic.settings.postgres_user
        assert f"the schema {OLD_SCHEMA} belongs to {owner}, and {role} may not read" in result.output
        assert f"Let {owner} run: grant usage on schema {OLD_SCHEMA} to {role}" in result.output
        assert "grant select" not in result.output
    finally:
        country.query(f"drop owned by {role} cascade; drop role {role}")


def test_the_right_to_make_temporary_tables_is_asked_for(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    role = reader(country)
    database = country.medic.settings.postgres_db
    try:
        country.query(f"grant select on couchdb, couchdb_progress to {role}")
        country.query(f"revoke temporary on database {database} from public")
        result = as_role(country, role).run("plan")
        assert result.exit_code == 1
        assert f"grant temporary on database {database} to {role}" in result.output
        assert "once PostgreSQL answers" not in result.output
    finally:
        country.query(f"grant temporary on database {database} to public")
        country.query(f"drop owned by {role}; drop role {role}")


def test_of_two_lines_about_one_database_the_later_position_counts(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    source = country.source(country.medic, port=False)
    country.query("insert into couchdb_progress values ('3', %s)", source)
    assert country.run("run").exit_code == 0
    assert country.query("select seq from v1.cht_sync_migrations where source = %s", source) == [("20",)]


def test_rows_without_a_source_are_asked_about_where_several_servers_were_read(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2(with_source=False)
    country.query(
        f"delete from {OLD_SCHEMA}.couchdb_progress where source !~ %s", f"{country.medic.database}$"
    )
    country.query(
        f"insert into {OLD_SCHEMA}.couchdb_progress values ('1', 0, now(), %s)",
        f"elsewhere/{country.medic.database}",
    )
    country.query(
        f"insert into {OLD_SCHEMA}.couchdb values (now(), 'other', false, null, %s)",
        json.dumps({"_id": "other", "_rev": "1-0"}),
    )
    only = country.with_settings(COUCHDB_DBS=country.medic.database)
    assert only.run("run").exit_code == 0
    assert country.medic.rows() == country.medic.winners()


def test_a_table_named_as_one_database_may_hold_all_of_them(country: Country) -> None:
    """cht-sync 2 has one table, whose name is POSTGRES_TABLE's."""
    country.medic.put(*IDS)
    country.sentinel.put("info")
    country.cht_sync_2(with_source=False)
    country.query(f'alter table {OLD_SCHEMA}.couchdb rename to "{country.medic.database}"')
    assert country.run("run").exit_code == 0
    assert country.is_complete()


def test_documents_that_couchdb_does_not_have_are_not_moved(country: Country) -> None:
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    purged = json.dumps({"_id": "purged", "_rev": "1-0", "type": "telemetry"})
    country.query("insert into couchdb_users_meta values (%s)", purged)
    assert country.run("run").exit_code == 0
    assert country.is_complete()
    assert (
        "unknown to CouchDB: purged, or of a database that is not synced: purged"
        in country.run("check").output
    )


def test_a_progress_that_may_not_be_read_is_refused(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    installation = country.medic.installation
    role = f"{installation.name}_reader"
    country.query(f"create role {role} login password 'reader'; grant select on couchdb to {role}")
    try:
        result = country.with_settings(POSTGRES_USER=role, POSTGRES_PASSWORD="reader").run("plan")
        assert result.exit_code == 1
        owner = country.medic.settings.postgres_user
        assert f"public.couchdb_progress belongs to {owner}, and {role} may not read it" in result.output
    finally:
        country.query(f"drop owned by {role}; drop role {role}")


def test_one_database_that_is_synced_does_not_stop_the_others(country: Country) -> None:
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    assert country.medic.run("load", country.medic.database, "--workers", "1").exit_code == 0
    result = country.run("run")
    assert result.exit_code == 0
    assert f"{country.medic.database}: cht-sync load has read it" in result.output
    assert country.is_complete()


def test_tables_beside_couch2pgs_are_not_taken_for_its_own(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.query("create table couchdb_backup as select * from couchdb")
    country.query("create view raw as select * from couchdb")
    result = country.run("run")
    assert result.exit_code == 0
    assert "public.couchdb_backup: left: couch2pg has no table of that name" in result.output
    assert "public.raw" not in result.output
    assert country.is_complete()


def test_a_partitioned_table_is_left_and_named(country: Country) -> None:
    country.medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    country.query("drop table couchdb cascade; create table couchdb (doc jsonb) partition by hash (doc)")
    country.query("create table couchdb_p0 partition of couchdb for values with (modulus 1, remainder 0)")
    result = country.run("plan")
    assert "public.couchdb: left: it is a partitioned table" in result.output
    assert "couchdb_p0" not in result.output


def test_what_is_done_stays_done_when_schemas_are_exchanged(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    assert country.run("run").exit_code == 0
    country.query(f"alter schema {OLD_SCHEMA} rename to before")
    result = country.run("run")
    assert result.exit_code == 0
    assert f"{country.medic.database} was moved already; nothing is changed" in result.output


def test_a_schema_with_a_percent_sign_is_no_traceback(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    country.query(
        sql.SQL("alter schema {} rename to {}").format(sql.Identifier(OLD_SCHEMA), sql.Identifier("a%b"))
    )
    assert "has no table of couch2pg" in refused(country, "plan")
