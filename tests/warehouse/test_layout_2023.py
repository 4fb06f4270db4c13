"""The layout of 2023, in which each revision was a row: taken over in place, with what reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from cht_sync.errors import ChtSyncError
from warehouse.installation import Installation, headers, plain_owner, put

Old = tuple[str | None, str | None, Any, str | None]
"""Name, revision, document, and when Logstash read it (UTC)."""

OLD_ROWS: tuple[Old, ...] = (
    ("a", "1-a", {"_id": "a", "n": 1}, "2023-01-01 10:00:00"),
    ("a", "3-a", {"_id": "a", "n": 3}, "2023-01-03 10:00:00.5"),
    ("a", "2-a", {"_id": "a", "n": 2}, "2023-01-02 10:00:00"),
    ("b", "10-b", {"_id": "b", "n": 10}, "2023-02-01 10:00:00"),
    ("b", "9-c", {"_id": "b", "n": 9}, "2023-02-01 10:00:00"),
    ("c", "2-c", {"_id": "c"}, "2023-02-01 10:00:00"),
    ("c", "2-x", {"_id": "c", "later": True}, "2023-02-01 10:00:00"),
    ("d", "7-d", {"_id": "d"}, "2023-01-01 10:00:00"),
    ("d", "2-d", {"_id": "d", "read": "later"}, "2023-01-05 10:00:00"),
    ("e", "2-e", {"_id": "e", "_deleted": True}, "2023-01-05 10:00:00"),
    ("f", "1-f", {"_id": "f"}, None),
    ("Ž", "1-z", {"_id": "Ž"}, "2023-01-01 00:00:00"),
    ("%{[doc][_id]}", "%{[doc][_rev]}", None, "2023-01-06 10:00:00"),
    (None, None, None, "2023-01-06 10:00:00"),
    ("", "1-g", {}, "2023-01-06 10:00:00"),
)
KEPT = [
    ("a", "3-a", {"_id": "a", "n": 3}, "2023-01-03 10:00:00.5", False),
    ("b", "10-b", {"_id": "b", "n": 10}, "2023-02-01 10:00:00", False),
    ("c", "2-x", {"_id": "c", "later": True}, "2023-02-01 10:00:00", False),
    ("d", "2-d", {"_id": "d", "read": "later"}, "2023-01-05 10:00:00", False),
    ("e", "2-e", {"_id": "e", "_deleted": True}, "2023-01-05 10:00:00", True),
    ("f", "1-f", {"_id": "f"}, "1970-01-01 00:00:00", False),
    ("Ž", "1-z", {"_id": "Ž"}, "2023-01-01 00:00:00", False),
]
KEPT_REPORT = "7 documents kept, 5 older revisions removed, 3 rows without a name removed"


def make_2023(
    installation: Installation, *tables: str, rows: tuple[Old, ...] = OLD_ROWS, kind: str = "timestamp"
) -> None:
    """Tables as the program's predecessor made them, with rows as its Logstash left them."""
    with installation.connected() as connection, connection, connection.cursor() as cursor:
        cursor.execute("create schema if not exists v1; set time zone 'America/St_Johns'")
        for table in tables:
            name = sql.Identifier("v1", table)
            cursor.execute(
                sql.SQL("""
                    create table {} ("@version" text, "@timestamp" {}, _id text, _rev text, doc jsonb,
                      doc_as_upsert boolean, unique (_id, _rev))
                """).format(name, sql.SQL(kind))
            )
            for id, rev, doc, read in rows:
                cursor.execute(
                    sql.SQL("insert into {} values ('1', %s, %s, %s, %s, true)").format(name),
                    (read and f"{read}Z", id, rev, None if doc is None else json.dumps(doc)),
                )


def kept(installation: Installation, table: str = "medic") -> list[tuple[Any, ...]]:
    name = sql.Identifier("v1", table)
    rows = installation.query(
        sql.SQL("select _id, _rev, doc, saved_timestamp::text, _deleted from {} order by _id").format(name)
    )
    shown = [(*row[:3], row[3].removesuffix("00000"), row[4]) for row in rows]
    assert installation.value(
        sql.SQL("""
            select bool_and("@timestamp" at time zone 'UTC' = saved_timestamp) is not false from {}
        """).format(name)
    )
    return shown


def everything(installation: Installation) -> list[tuple[Any, ...]]:
    """What a refused run must not have touched."""
    return installation.query(
        "select oid, relname, relkind, relfilenode from pg_class"
        " where relnamespace in (select oid from pg_namespace where nspname in ('v1', 'dbt')) order by 1"
    )


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_the_newest_row_of_each_document_stays(empty: Installation, kind: str) -> None:
    make_2023(empty, "medic", kind=kind)
    assert f"medic: 2023 layout upgraded: {KEPT_REPORT}" in empty.init("medic")
    assert kept(empty) == [
        (*row[:3], row[3].replace(".5", ".500000").removesuffix("00000"), row[4]) for row in KEPT
    ]


def test_the_upgraded_table_has_what_a_new_one_has(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.init("medic new")
    for question in (
        """select attname, format_type(atttypid, atttypmod), attnotnull, collname, atthasdef
          from pg_attribute left join pg_collation on pg_collation.oid = attcollation
          where attrelid = %s::regclass and attnum > 0 and not attisdropped order by 1""",
        """select tgname, tgtype, tgfoid::regproc::text from pg_trigger
          where tgrelid = %s::regclass and not tgisinternal order by 1""",
        """select contype::text, conkey is not null from pg_constraint
          where conrelid = %s::regclass and contype <> 'n' order by 1""",
        "select relowner, relacl, reloptions from pg_class where oid = %s::regclass",
        """select amname, indisunique, indisprimary, array(select attname from pg_attribute
            where attrelid = indrelid and attnum = any(indkey))
          from pg_index join pg_class on pg_class.oid = indexrelid join pg_am on pg_am.oid = relam
          where indrelid = %s::regclass order by 4""",
    ):
        assert empty.query(question, "v1.medic") == empty.query(question, "v1.new"), question


def test_a_second_run_after_the_upgrade_changes_nothing(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.init("medic")
    rows = "select ctid::text, xmin::text, medic from v1.medic order by _id"
    before = empty.query(rows)
    assert empty.init("medic") == []
    assert empty.query(rows) == before


def test_the_pipeline_reads_from_the_start_and_leaves_what_is_here_as_it_is(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.init("medic")
    assert empty.query("select * from v1.couchdb_progress") == []
    rows = "select ctid::text, xmin::text, medic from v1.medic order by _id"
    before = empty.query(rows)
    with empty.connected() as connection:
        with connection:
            for deleted in (False, True):
                documents = [(id, rev, doc) for id, rev, doc, _, gone in KEPT if gone is deleted]
                put(connection, *documents, deleted=deleted)
        assert empty.query(rows) == before
        with connection:
            put(connection, ("a", "4-a", {"_id": "a", "n": 4}), headers=headers(1, 1, seq="1-x"))
    assert empty.query("select _rev, source from v1.medic where _id = 'a'") == [("4-a", "couch/medic")]


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("time", ["infinity", "-infinity", "2100-01-01 00:00:00Z", "290000-01-01 00:00:00Z"])
def test_times_that_cannot_be_become_that_of_the_upgrade_and_writing_goes_on(
    empty: Installation, kind: str, time: str
) -> None:
    make_2023(empty, "medic", rows=(("a", "2-a", {}, "2023-01-01 00:00:00"),), kind=kind)
    empty.query(f"insert into v1.medic values ('1', '{time}', 'b', '1-b', '{{}}', true)")
    before = empty.value("select clock_timestamp() at time zone 'UTC'")
    empty.init("medic")
    with empty.connected() as connection:
        for number in range(2):
            with connection:
                put(connection, (f"new {number}", "1-n", {}))
    stamps = dict(empty.query("select _id, saved_timestamp from v1.medic"))
    assert sorted(stamps, key=stamps.__getitem__) == ["a", "b", "new 0", "new 1"]
    now = empty.value("select clock_timestamp() at time zone 'UTC'")
    assert before < stamps["b"] < stamps["new 1"] < now
    assert empty.value("""
        select bool_and("@timestamp" at time zone 'UTC' = saved_timestamp) from v1.medic""")


def test_what_is_taken_over_later_is_new_to_models_that_are_ahead(empty: Installation) -> None:
    empty.init("medic")
    with empty.connected() as connection, connection:
        put(connection, ("new", "1-a", {}))
    greatest = empty.value("select max(saved_timestamp) from v1.all_documents")
    make_2023(empty, "old")
    report = empty.init("medic old")
    assert f"old: {len(KEPT)} documents are stamped anew, so that models see them" in report
    for time in ("saved_timestamp", "\"@timestamp\" at time zone 'UTC'"):
        newer = f"select count(*) from v1.all_documents where {time} > %s"
        assert empty.value(newer, greatest) == len(KEPT)


def test_on_a_first_installation_rows_keep_their_times(empty: Installation) -> None:
    make_2023(empty, "medic", "old")
    assert not any("stamped anew" in line for line in empty.init("medic old"))


def test_rows_get_their_source_where_the_server_is_known(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.init("medic", COUCHDB_HOST="couch")
    assert empty.query("select distinct source from v1.medic") == [("couch/medic",)]


def test_an_empty_table_of_2023_is_taken_over(empty: Installation) -> None:
    make_2023(empty, "medic", rows=())
    assert (
        "medic: 2023 layout upgraded: 0 documents kept, 0 older revisions removed,"
        " 0 rows without a name removed" in empty.init("medic")
    )
    with empty.connected() as connection, connection:
        put(connection, ("a", "1-a", {}))


def test_each_of_several_databases_is_upgraded(empty: Installation) -> None:
    make_2023(empty, "couchdb", "couchdb_sentinel", "other")
    empty.init("couchdb couchdb_sentinel")
    assert len(kept(empty, "couchdb")) == len(kept(empty, "couchdb_sentinel")) == len(KEPT)
    assert empty.value("select count(*) from v1.other") == len(OLD_ROWS)


def test_the_table_of_the_models_becomes_that_of_the_only_database(empty: Installation) -> None:
    make_2023(empty, "couchdb")
    report = empty.init("medic")
    assert "couchdb: its table is now that of the database medic" in report
    assert f"medic: 2023 layout upgraded: {KEPT_REPORT}" in report
    assert len(kept(empty)) == len(KEPT)
    assert empty.value("select relkind from pg_class where oid = 'v1.couchdb'::regclass") == "v"
    assert empty.value("select count(*) from v1.couchdb") == len(KEPT)
    assert empty.init("medic") == []


def test_the_table_of_the_models_takes_the_place_of_an_empty_table(empty: Installation) -> None:
    empty.init("medic", POSTGRES_TABLE="models")
    with closing(empty.login("dbt")) as dbt, dbt:
        dbt.cursor().execute("create view dbt.all_of_them as select _id from v1.models")
    make_2023(empty, "couchdb")
    empty.init("medic")
    assert len(kept(empty)) == len(KEPT)
    for view in ("v1.couchdb", "v1.all_documents", "dbt.all_of_them"):
        assert empty.value(f"select count(*) from {view}") == len(KEPT)


def test_the_table_of_the_models_of_several_databases_is_refused(empty: Installation) -> None:
    make_2023(empty, "couchdb")
    before = everything(empty)
    refusal = empty.refusal("medic medic-sentinel")
    assert "alter table v1.couchdb rename to" in refusal
    assert "medic, medic-sentinel" in refusal
    assert everything(empty) == before
    empty.query("alter table v1.couchdb rename to medic")
    empty.init("medic medic-sentinel")
    assert len(kept(empty)) == len(KEPT)


def test_two_tables_that_may_hold_the_same_documents_are_refused(empty: Installation) -> None:
    make_2023(empty, "couchdb", "medic")
    before = everything(empty)
    assert "has documents too" in empty.refusal("medic")
    assert everything(empty) == before


def make_models(installation: Installation, maker: str | None = None) -> None:
    """As cht-pipeline of 2023 made them, and a site of its own: views on views, one of them stored.

    `maker` makes the roles, so that it may change them.
    """
    role = f"{installation.name}_dbt"
    installation.query(
        f"""
        set role {maker or installation.server.user};
        create role {role} login password 'x';
        create role {installation.name}_anon;
        reset role;
        create schema dbt authorization {role};
        grant usage on schema v1 to {role};
        grant select on all tables in schema v1 to {role};
        set role {role};
        create view dbt.couchdb as select doc ->> 'type' as type, * from v1.couchdb;
        create view dbt.raw_contacts with (security_barrier = true) as
          select _id, doc, "@timestamp" from dbt.couchdb where doc ? 'n';
        create materialized view dbt."stored contacts" as
          select c._id, count(*) as n from dbt.raw_contacts join dbt.couchdb as c using (_id) group by 1;
        create unique index on dbt."stored contacts" (_id);
        create materialized view dbt.unfilled as select count(*) from v1.couchdb with no data;
        grant select on dbt."stored contacts" to public;
        grant select (_id) on dbt.raw_contacts to {installation.name}_anon with grant option;
        comment on view dbt.raw_contacts is 'it''s contacts';
        comment on column dbt."stored contacts".n is 'rows';
        create table dbt.person as select * from dbt.couchdb;
        """
    )


MODELS = """
    select c.oid::regclass::text, relkind::text, relowner::regrole::text, reloptions, relispopulated,
      array(select a::text from unnest(coalesce(relacl, acldefault('r', relowner))) as a
        where a::text !~ '_superset=' order by 1),
      obj_description(c.oid), array(select pg_get_indexdef(indexrelid) from pg_index where indrelid = c.oid),
      array(select concat_ws(' ', attname, attacl::text, col_description(c.oid, attnum)) from pg_attribute
        where attrelid = c.oid and attnum > 0 order by attnum)
    from pg_class as c where relnamespace = 'dbt'::regnamespace and relkind in ('r', 'v', 'm') order by 1
"""


@pytest.fixture
def modelled(empty: Installation) -> Iterator[Installation]:
    """A 2023 installation with its models."""
    make_2023(empty, "couchdb")
    make_models(empty)
    yield empty


@pytest.mark.parametrize("databases", ["couchdb", "medic"])
def test_views_that_read_the_table_work_as_before(modelled: Installation, databases: str) -> None:
    before = modelled.query(MODELS)
    report = modelled.init(databases)
    assert any(line.startswith("dbt.couchdb, ") and line.endswith(": made again") for line in report)
    assert modelled.query(MODELS) == before
    assert modelled.query('select * from dbt."stored contacts" order by 1') == [("a", 1), ("b", 1)]
    with modelled.connected() as connection, connection:
        put(connection, ("n", "1-n", {"n": 0, "type": "person"}), table=databases)
    with closing(modelled.login("dbt")) as dbt, dbt, dbt.cursor() as cursor:
        cursor.execute("select type from dbt.raw_contacts join dbt.couchdb using (_id) where _id = 'n'")
        assert cursor.fetchall() == [("person",)]
        # What an incremental model of 2023 asks.
        cursor.execute(
            'select _id from dbt.couchdb where "@timestamp" > (select max("@timestamp") from dbt.person)'
        )
        assert cursor.fetchall() == [("n",)]
        cursor.execute('refresh materialized view concurrently dbt."stored contacts"')


def test_an_owner_that_is_no_superuser_can_upgrade(empty: Installation) -> None:
    with plain_owner(empty) as (owner, password):
        make_2023(empty, "couchdb")
        empty.query(f"alter schema v1 owner to {owner}; alter table v1.couchdb owner to {owner}")
        make_models(empty, maker=owner)
        before = empty.query(MODELS)
        report = empty.init("medic", owner=(owner, password))
        assert f"medic: 2023 layout upgraded: {KEPT_REPORT}" in report
        assert empty.query(MODELS) == before
        assert len(kept(empty)) == len(KEPT)
        assert empty.init("medic", owner=(owner, password)) == []


def test_a_view_of_somebody_whom_the_owner_cannot_become_is_named_and_nothing_is_changed(
    empty: Installation,
) -> None:
    with plain_owner(empty) as (owner, password):
        make_2023(empty, "medic")
        empty.query(f"alter schema v1 owner to {owner}; alter table v1.medic owner to {owner}")
        empty.query("create view public.theirs as select * from v1.medic")
        before = everything(empty)
        with pytest.raises(ChtSyncError, match=r"public\.theirs.*is not a member of its owner"):
            empty.init("medic", owner=(owner, password))
        assert everything(empty) == before
        empty.query("drop view public.theirs")


@pytest.mark.parametrize(
    ("hindrance", "named"),
    [
        ("create rule r as on insert to dbt.couchdb do instead nothing", "dbt.couchdb"),
        ("alter view dbt.couchdb alter column type set default 'x'", "dbt.couchdb"),
        ('create statistics dbt.s on _id, n from dbt."stored contacts"', "stored contacts"),
        ("create policy p on v1.couchdb using (_id = current_user)", "policy p"),
        ("create function dbt.f(dbt.couchdb) returns text language sql as 'select $1._id'", "dbt.f("),
    ],
)
def test_what_cannot_be_made_again_is_named_and_nothing_is_changed(
    modelled: Installation, hindrance: str, named: str
) -> None:
    modelled.query(hindrance)
    before = everything(modelled)
    assert named in modelled.refusal("couchdb")
    assert everything(modelled) == before
    assert modelled.value("select count(*) from v1.couchdb") == len(OLD_ROWS)


@pytest.mark.parametrize("published", ["for table v1.medic", "for all tables"])
def test_a_table_that_is_published_is_refused_until_its_rows_can_be_told(
    empty: Installation, published: str
) -> None:
    make_2023(empty, "medic")
    empty.query(f"create publication told {published}")
    before = everything(empty)
    refusal = empty.refusal("medic")
    remedy = "alter table v1.medic replica identity full"
    assert "v1.medic is published by told" in refusal
    assert remedy in refusal
    assert everything(empty) == before
    empty.query(remedy)
    empty.init("medic")
    assert len(kept(empty)) == len(KEPT)


def test_functions_that_take_rows_of_the_table_are_named(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.query("create function v1.f(v1.medic) returns text language sql as 'select $1._id'")
    line = "v1.f(v1.medic) takes rows of v1.medic, whose columns are others now: see that it still works"
    assert line in empty.init("medic")


def test_readers_and_the_old_logstash_may_be_at_work(empty: Installation) -> None:
    """The upgrade waits for who is there; who comes later finds the new table."""
    make_2023(empty, "medic")
    with closing(empty.connect()) as writer:
        writer.cursor().execute("insert into v1.medic values ('1', now(), 'late', '1-l', '{}', true)")
        assert "lock timeout" in empty.refusal("medic", PGOPTIONS="-c lock_timeout=200ms")
        writer.commit()
    empty.init("medic")
    assert empty.value("select _rev from v1.medic where _id = 'late'") == "1-l"


def test_the_old_logstash_cannot_make_a_second_row_of_a_document(empty: Installation) -> None:
    make_2023(empty, "medic")
    empty.init("medic")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        empty.query("insert into v1.medic (_id, _rev, doc) values ('a', '99-a', '{}')")


@pytest.mark.parametrize(
    "statement",
    [
        "create table v1.medic (_id varchar primary key, saved_timestamp timestamp, _deleted boolean,"
        " source varchar, doc jsonb)",
        "create view v1.medic as select 1 as one",
        "create materialized view v1.couchdb as select 1 as one",
        "create table v1.couchdb_progress (seq varchar, pending integer, source varchar primary key)",
        "create view v1.all_documents as select 1 as one",
    ],
)
def test_a_stranger_under_a_name_that_is_needed_is_refused_and_stays(
    empty: Installation, statement: str
) -> None:
    empty.query(f"create schema v1; {statement}")
    before = everything(empty)
    assert "was not made by cht-sync" in empty.refusal("medic")
    assert everything(empty) == before
