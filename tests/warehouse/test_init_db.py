"""postgres/init-db-resources.sh: what it makes, and what it leaves alone."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest
from postgres_fixture import PostgresServer, fresh_database
from psycopg2 import sql
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.service import inherited_environment
from warehouse.installation import SCRIPT, Installation, headers, plain_owner, put

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


@pytest.mark.parametrize("table", ["couchdb", "all_documents", "medic"])
def test_a_second_run_waits_for_no_reader_and_no_writer(empty: Installation, table: str) -> None:
    empty.init("medic medic-sentinel", POSTGRES_TABLE=table)
    with empty.connected() as other, other, other.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relnamespace = 'v1'::regnamespace and relkind in ('r', 'v')"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("select 1 from {}").format(sql.Identifier("v1", name)))
        put(other, ("a", "1-a", {}), headers=headers(1, 1))
        empty.init("medic medic-sentinel", POSTGRES_TABLE=table, PGOPTIONS="-c lock_timeout=2s")


def test_the_script_says_what_it_did_and_nothing_when_all_was_there(empty: Installation) -> None:
    assert empty.init("medic-sentinel medic") == [
        "medic: table made",
        "medic-sentinel: table made",
        "all_documents: view of medic, medic-sentinel",
        "couchdb: view of medic, medic-sentinel",
    ]
    assert empty.init("medic medic-sentinel") == []
    assert empty.init("medic") == [
        "medic-sentinel: no longer synced; its table stays",
        "all_documents: view of medic",
        "couchdb: view of medic",
    ]
    assert empty.init("medic") == []
    assert empty.init("medic medic-sentinel couchdb") == [
        "couchdb: table made",
        "all_documents: view of couchdb, medic, medic-sentinel",
    ]


def test_documents_are_compressed_with_lz4_where_the_server_has_it(installed: Installation) -> None:
    has_lz4 = "lz4" in installed.compressions()
    compression = """
        select to_jsonb(a) ->> 'attcompression' from pg_attribute as a
        where attrelid = 'v1.medic'::regclass and attname = 'doc'"""
    assert (installed.value(compression) == "l") == has_lz4
    if has_lz4:
        installed.query("alter table v1.medic alter column doc set compression pglz")
        assert installed.init("medic medic-sentinel") == [
            "medic: documents that come are compressed with lz4"
        ]
        with installed.connected() as connection, connection:
            put(connection, ("a", "1-a", {"text": "x" * 9000}))
        assert installed.value("select pg_column_compression(doc) from v1.medic") == "lz4"


def test_storage_parameters_that_somebody_chose_stay(installed: Installation) -> None:
    installed.query("alter table v1.medic set (autovacuum_vacuum_scale_factor = 0.5)")
    installed.query("alter table v1.couchdb_progress reset (fillfactor, vacuum_truncate)")
    options = "select relname, reloptions from pg_class where relnamespace = 'v1'::regnamespace order by 1"
    chosen = "select reloptions from pg_class where oid = 'v1.medic'::regclass"
    before = installed.value(chosen)
    installed.init("medic medic-sentinel")
    assert installed.value(chosen) == before
    assert dict(installed.query(options))["couchdb_progress"] == ["vacuum_truncate=off", "fillfactor=10"]


@pytest.mark.parametrize("column", ["saved_timestamp", '"@timestamp"'])
def test_what_models_of_both_generations_ask_for_is_found_by_an_index(
    installed: Installation, column: str
) -> None:
    with installed.connected() as connection, connection:
        put(connection, *[(f"{number}", "1-a", {}) for number in range(1000)])
    installed.query("analyze v1.medic")
    plan = installed.query(
        f"explain select doc from v1.couchdb where {column} > (select max({column}) from v1.couchdb)"
    )
    assert any("Index Cond" in line and f"({column} >" in line for (line,) in plan), plan


def test_a_view_that_reads_the_one_under_postgres_table_survives_that_a_database_gets_its_name(
    empty: Installation,
) -> None:
    empty.init("medic")
    with closing(empty.login("dbt")) as dbt, dbt:
        dbt.cursor().execute("create view dbt.all_of_them as select _id from v1.couchdb")
    assert "dbt.all_of_them: made again" in empty.init("medic couchdb")
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}), table="couchdb")
    assert empty.query("select _id from dbt.all_of_them") == [("a",)]


def test_runs_that_want_different_databases_follow_each_other(empty: Installation) -> None:
    wanted = ("medic", "medic medic-sentinel", "medic-sentinel third")
    with ThreadPoolExecutor(6) as pool:
        for run in [pool.submit(empty.init, databases) for databases in wanted * 2]:
            run.result()
    for table in ("medic", "medic-sentinel", "third"):
        with empty.connected() as connection, connection:
            put(connection, ("a", "1-a", {}), table=table)
    assert views(empty, "all_documents") == views(empty, "couchdb")
    assert views(empty, "all_documents") in [set(databases.split()) for databases in wanted]
    empty.init("medic medic-sentinel third")
    assert views(empty, "all_documents") == {"medic", "medic-sentinel", "third"}


def test_the_script_is_executable_so_that_the_official_image_runs_it_in_a_process_of_its_own() -> None:
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("databases", ["medic", "Wrong"])
def test_a_shell_that_takes_the_script_in_goes_on_afterwards(empty: Installation, databases: str) -> None:
    """So does the official image where the script is not executable; it ends only where the script failed."""
    entrypoint = 'set -e; . "$0" || echo refused; echo "then ${POSTGRES_SCHEMA-nothing} ${name-nothing}"'
    said = empty.init(databases, shell=("bash", "-c", entrypoint))
    assert said[-1] == "then nothing nothing"
    assert ("refused" in said) == (databases == "Wrong")


def test_runs_at_the_same_time_all_succeed(empty: Installation) -> None:
    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(empty.init, "medic medic-sentinel") for _ in range(4)]:
            run.result()
    assert views(empty, "all_documents") == {"medic", "medic-sentinel"}


def test_runs_for_several_databases_with_one_role_for_dbt_all_succeed(
    postgres_server: PostgresServer, empty: Installation
) -> None:
    shared = f"{empty.name}_dbt"
    with ExitStack() as stack:
        names = [stack.enter_context(fresh_database(postgres_server)) for _ in range(3)]
        others = [Installation(postgres_server, name, empty.passwords) for name in names]
        for other in others:
            stack.callback(other.drop_roles)
            stack.callback(other.query, f"drop owned by {shared} cascade")
        for _ in range(2):
            with ThreadPoolExecutor(4) as pool:
                for run in [
                    pool.submit(one.init, "medic", DBT_POSTGRES_USER=shared) for one in (empty, *others)
                ]:
                    run.result()
        for one in (empty, *others):
            with closing(
                psycopg2.connect(one.server.dsn(one.name), user=shared, password=empty.passwords["dbt"])
            ) as dbt:
                dbt.cursor().execute("create table dbt.model as select _id from v1.all_documents")


def test_what_is_said_of_a_role_that_cannot_be_changed_has_no_password(installed: Installation) -> None:
    with installed.connected() as other:
        other.cursor().execute(f"alter role {installed.name}_dbt login")
        said = installed.refusal("medic", PGOPTIONS="-c lock_timeout=200ms")
    assert "lock timeout" in said
    assert "DBT_POSTGRES_USER" in said
    assert not [password for password in installed.passwords.values() if password in said]


@pytest.mark.parametrize("setting", ["DBT_POSTGRES_USER", "POSTGRES_USER"])
@pytest.mark.parametrize("part", ["authenticator", "anon", "ingest", "superset"])
def test_a_role_with_another_purpose_is_refused(empty: Installation, setting: str, part: str) -> None:
    role = f"{empty.name}_{part}"
    if setting == "POSTGRES_USER":
        empty.query(f"create role {role} superuser login password 'x'")
        with pytest.raises(ChtSyncError, match=f"POSTGRES_USER {role} is a role that cht-sync makes"):
            empty.init("medic", owner=(role, "x"))
    else:
        assert f"DBT_POSTGRES_USER {role} is a role that cht-sync makes" in empty.refusal(
            "medic", DBT_POSTGRES_USER=role
        )
        assert empty.refusal("medic", DBT_POSTGRES_USER=f"postgres_{part}")
    assert not empty.query("select 1 from pg_namespace where nspname = 'v1'")


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
        ("cht_sync_loads", {}, "cht_sync_loads"),
        ("cht_sync_load_chunks", {}, "cht_sync_load_chunks"),
        ("cht_sync_heartbeats", {}, "cht_sync_heartbeats"),
        ("cht_sync_migrations", {}, "cht_sync_migrations"),
        ("x" * 64, {}, "63 bytes"),
        ("Medic", {}, "Medic"),
        ("1medic", {}, "1medic"),
        ("medic žluť", {}, "žluť"),
        ('medic";drop', {}, "drop"),
        ("medic", {"POSTGRES_TABLE": "dead_letters"}, "POSTGRES_TABLE"),
        (" , ", {}, "COUCHDB_DBS names no database"),
        ("zed zed_pkey", {}, "zed_pkey will be the name of an index"),
        ("zed zed_saved_timestamp_idx", {}, "zed_saved_timestamp_idx will be the name of an index"),
        ("dead_letters_id_seq", {}, "dead_letters_id_seq will be the name of an index or a sequence"),
        ("x" * 60 + " " + "x" * 58 + "_pkey", {}, "will be the name of an index"),
        ("zed", {"POSTGRES_TABLE": "zed_pkey"}, "zed_pkey will be the name of an index"),
        ("zed", {"POSTGRES_TABLE": "t" * 64}, "POSTGRES_TABLE is longer than 63 bytes"),
        ("zed", {"POSTGRES_SCHEMA": "é" * 32}, "POSTGRES_SCHEMA is longer than 63 bytes"),
        ("zed", {"DBT_POSTGRES_SCHEMA": "s" * 64}, "DBT_POSTGRES_SCHEMA is longer than 63 bytes"),
        ("zed", {"DBT_POSTGRES_USER": "u" * 64}, "DBT_POSTGRES_USER is longer than 63 bytes"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_changed(
    empty: Installation, databases: str, settings: dict[str, str], named: str
) -> None:
    assert named in empty.refusal(databases, **settings)
    assert not empty.query("select 1 from pg_namespace where nspname = 'v1'")
    assert not empty.query("select 1 from pg_roles where rolname = %s", f"{empty.name}_ingest")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("medic_pkey", "an index"),
        ("medic_saved_timestamp_idx", "an index"),
        ("dead_letters_id_seq", "a sequence"),
        ("dead_letters_fingerprint_key", "an index"),
        ("dead_letters_doc_id_idx", "an index"),
        ("dead_letters_database_idx", "an index"),
        ("replaced_values_id_seq", "a sequence"),
        ("cht_sync_state_pkey", "an index"),
    ],
)
def test_the_name_of_an_index_or_a_sequence_is_refused_as_what_it_is(
    installed: Installation, name: str, kind: str
) -> None:
    said = f"{name} is the name of {kind} in schema v1: no table can have it"
    refusal = installed.refusal(f"medic medic-sentinel {name}")
    assert said in refusal
    assert "was not made by cht-sync" not in refusal
    # And so it is known before: every such name is refused on a fresh schema too.
    assert "will be the name" in installed.refusal(f"medic {name}", POSTGRES_SCHEMA="fresh")


def test_a_database_that_a_newer_version_made_is_refused(installed: Installation) -> None:
    installed.query("update v1.cht_sync_state set layout_version = '0.10.0'")
    before = installed.query(EVERYTHING)
    assert "newer" in installed.refusal("medic")
    assert installed.query(EVERYTHING) == before


def test_a_database_that_cannot_hold_every_character_is_refused(postgres_server: PostgresServer) -> None:
    with fresh_database(postgres_server, encoding="LATIN1") as name:
        refusal = Installation(postgres_server, name).refusal("medic")
    assert f"POSTGRES_DB {name} has the encoding LATIN1" in refusal


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


def new_to(installation: Installation, reader: dict[str, object]) -> set[str]:
    """What a model finds that asks for what is newer than its newest row, by either of the two times."""
    found: set[str] = set()
    for column in ("saved_timestamp", '"@timestamp"'):
        rows = installation.query(f"select {column}, _id from v1.all_documents")
        before = reader.get(column)
        newer = {id for stamp, id in rows if before is None or stamp > before}
        assert not found or newer == found
        found = newer
        reader[column] = max(stamp for stamp, _ in rows)
    return found


def test_documents_of_a_database_that_comes_back_are_new_to_models(installed: Installation) -> None:
    reader: dict[str, object] = {}
    with installed.connected() as connection:
        with connection:
            put(connection, ("old", "1-a", {}), ("older", "1-a", {}), table="medic-sentinel")
        installed.init("medic")
        with connection:
            put(connection, ("a", "1-a", {}))
        assert new_to(installed, reader) == {"a"}
        contents = 'select _id, _rev, doc, _deleted, source from v1."medic-sentinel" order by 1'
        before = installed.query(contents)
        assert installed.init("medic medic-sentinel")[0] == (
            "medic-sentinel: 2 documents are stamped anew, so that models see them"
        )
        assert installed.query(contents) == before
        assert new_to(installed, reader) == {"old", "older"}
        assert installed.init("medic medic-sentinel") == []
        with connection:
            put(connection, ("old", "1-a", {}), ("new", "1-a", {}), table="medic-sentinel")
    assert new_to(installed, reader) == {"new"}


def test_stamping_anew_waits_its_turn_behind_a_writer(installed: Installation) -> None:
    """A writer that took its stamp before is seen before, whatever commits first."""
    with installed.connected() as connection, connection:
        put(connection, ("old", "1-a", {}), table="medic-sentinel")
    installed.init("medic")
    with installed.connected() as writer, ThreadPoolExecutor(1) as pool:
        put(writer, ("a", "1-a", {}))
        run = pool.submit(installed.init, "medic medic-sentinel")
        waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        eventually(lambda: bool(installed.query(f"{waiting} and datname = current_database()")))
        writer.commit()
        run.result()
    stamped = "select _id from v1.all_documents order by saved_timestamp"
    assert installed.query(stamped) == [("a",), ("old",)]


def test_postgres_table_may_name_a_synced_database(empty: Installation) -> None:
    empty.init("medic medic-sentinel", POSTGRES_TABLE="medic")
    assert empty.value("select relkind from pg_class where oid = 'v1.medic'::regclass") == "r"
    assert views(empty, "all_documents") == {"medic", "medic-sentinel"}


def test_postgres_table_that_becomes_the_name_of_a_database_becomes_its_table(empty: Installation) -> None:
    empty.init("medic")
    empty.init("medic couchdb")
    assert empty.value("select relkind from pg_class where oid = 'v1.couchdb'::regclass") == "r"


def test_postgres_table_that_names_a_database_no_longer_synced_is_refused_with_ways_on(
    empty: Installation,
) -> None:
    empty.init("couchdb medic")
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}), table="couchdb")
        put(connection, ("b", "1-b", {}))
    refusal = empty.refusal("medic")
    assert "synced no longer" in refusal
    assert views(empty, "all_documents") == {"couchdb", "medic"}
    remedy = "alter table v1.couchdb rename to couchdb_formerly"
    assert remedy in refusal
    empty.query(remedy)
    empty.init("medic")
    assert empty.query("select _id from v1.couchdb") == [("b",)]
    assert empty.query("select _id from v1.couchdb_formerly") == [("a",)]
    assert empty.init("medic") == []


def test_a_document_is_once_in_the_view_that_models_read_whatever_its_name(empty: Installation) -> None:
    empty.init("medic", POSTGRES_TABLE="all_documents")
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}))
    assert empty.query("select _id from v1.all_documents") == [("a",)]


def test_an_owner_that_is_no_superuser_suffices(empty: Installation) -> None:
    with plain_owner(empty) as owner:
        for _ in range(2):
            empty.init("medic", owner=owner)
        assert empty.value("select nspowner::regrole::text from pg_namespace where nspname = 'dbt'").endswith(
            "_dbt"
        )
        with closing(empty.login("authenticator")) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(f"{empty.name}_ingest")))
            put(connection, ("a", "1-a", {}), headers=headers(1, 1, seq="1-x"))
        assert empty.progress() == ("1-x", None, 1, 1)


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


SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.mark.parametrize("shell", SHELLS)
def test_any_posix_shell_runs_the_script(empty: Installation, shell: str) -> None:
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"no {shell} on this machine")
    assert "medic: table made" in empty.init("medic", shell=SHELLS[shell])
    with pytest.raises(ChtSyncError, match=r"exit code 2: init-db-resources: COUCHDB_DBS is not set"):
        empty.init("", shell=SHELLS[shell])


def test_the_script_works_over_a_local_socket_as_the_official_image_runs_it(
    postgres_server: PostgresServer,
) -> None:
    """The image runs it with nothing but the variables of its own container, while no port is open."""
    with tempfile.TemporaryDirectory() as short:  # the name of a socket has 107 bytes at most
        folder = Path(short)
        service = Postgres(
            folder / "cluster", port=5999, user="root", password="x", programs=postgres_server.programs
        )
        service.prepare(lambda _text: None)
        (folder / "cluster" / "data" / "pg_hba.conf").write_text("local all all trust\n")
        folder.chmod(0o755)
        command = [
            *service.command(),
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={folder}/cluster",
        ]
        running = process.start(command, log=folder / "log", env=inherited_environment())
        path = f"{postgres_server.programs}:{os.environ['PATH']}"
        socket = {"PATH": path, "PGHOST": f"{folder}/cluster", "PGPORT": "5999"}
        try:
            eventually(lambda: subprocess.run(["pg_isready", "-q"], env=socket, check=False).returncode == 0)
            output = process.run(
                [SCRIPT],
                env={
                    **socket,
                    **{"POSTGRES_USER": "root", "POSTGRES_DB": "postgres", "COUCHDB_DBS": "medic"},
                    **{"PGRST_DB_PASSWORD": "a", "DBT_POSTGRES_PASSWORD": "b"},
                },
            )
        finally:
            process.stop(process.ProcessId.of(running.pid), ask=service.stop_signal)
            running.wait()
    assert "medic: table made" in output
