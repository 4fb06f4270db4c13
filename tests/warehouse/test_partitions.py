"""A table of documents may be partitioned by the hash of _id, and be plain again, behind its name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
import requests
from psycopg2 import errors
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.tokens import make_token
from warehouse.installation import Installation, headers, plain_owner, put
from warehouse.partitioning import partition, refusal
from warehouse.served import PATIENCE, SECRET, Served, listening

ROWS = "select * from v1.medic order by _id"
KIND = "select relkind::text from pg_class where oid = 'v1.medic'::regclass"
RIGHTS = "select relacl::text from pg_class where oid = 'v1.medic'::regclass"
DESCRIBED = (
    """select relkind::text, relacl::text, reloptions, obj_description(oid) from pg_class
       where oid = 'v1.medic'::regclass""",
    """select pg_get_triggerdef(oid), tgenabled::text from pg_trigger
       where tgrelid = 'v1.medic'::regclass order by 1""",
    "select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'v1.medic'::regclass order by 1",
    """select attname, format_type(atttypid, atttypmod), attcollation, attnotnull, attacl::text,
         attstorage::text, to_jsonb(a) ->> 'attcompression', col_description(attrelid, attnum),
         pg_get_expr(adbin, adrelid)
       from pg_attribute as a left join pg_attrdef on adrelid = attrelid and adnum = attnum
       where attrelid = 'v1.medic'::regclass and attnum > 0 order by attnum""",
    "select nspname, nspacl::text from pg_namespace where nspname !~ '^pg_' order by 1",
)
CATALOG = """
    select oid::regclass::text, relkind::text, relacl::text, reloptions, relfilenode from pg_class
      where relnamespace::regnamespace::text in ('v1', 'v1_partitions') order by 1
"""


def filled(installation: Installation, count: int = 200) -> Installation:
    with transaction(installation) as connection:
        documents = [(f"doc-{number}", "1-a", {"n": number}) for number in range(count)]
        put(connection, *documents, headers=headers(1, 1, seq="5-x"))
    return installation


@contextmanager
def transaction(installation: Installation) -> Iterator[Any]:
    with installation.connected() as connection, connection:
        yield connection


def described(installation: Installation) -> list[list[tuple[Any, ...]]]:
    return [installation.query(question) for question in DESCRIBED]


def shares(installation: Installation) -> dict[str, int]:
    """How many rows are in each partition that has some."""
    return dict(installation.query("select tableoid::regclass::text, count(*) from v1.medic group by 1"))


def write(installation: Installation, *ids: str, rev: str = "2-b", batch: int = 2, epoch: int = 1) -> None:
    with transaction(installation) as connection:
        put(
            connection,
            *((one, rev, {"new": one}) for one in ids),
            headers=headers(epoch, batch, seq=f"{batch}-x"),
        )


def test_rows_keep_their_stamps_and_are_spread_over_partitions(installed: Installation) -> None:
    before = filled(installed).query(ROWS)
    assert partition(installed, 4) == "medic: 200 documents, 4 partitions\n"
    assert installed.query(ROWS) == before
    assert installed.query("select * from v1.all_documents order by _id") == before
    found = shares(installed)
    assert set(found) == {f"v1_partitions.medic_{number}_of_4" for number in range(4)}
    assert min(found.values()) > 20


def test_there_and_back_everything_is_as_it_was(installed: Installation) -> None:
    filled(installed).query("""
        comment on table v1.medic is 'of the programme'; comment on column v1.medic.doc is 'as it came';
        create role "Analyst, guest"; grant select (_id, source) on v1.medic to "Analyst, guest";
        create index on v1.medic ((doc ->> 'type')) where not _deleted;
        alter table v1.medic set (autovacuum_vacuum_scale_factor = 0.5);
        create trigger mine before update on v1.medic for each row execute function v1.stamp_row();
        alter table v1.medic disable trigger mine;
        alter default privileges grant select on tables to public;
    """)
    try:
        before, rows, rights = described(installed), installed.query(ROWS), installed.query(RIGHTS)
        partition(installed, 4)
        assert installed.value(KIND) == "p"
        assert installed.query(DESCRIBED[3]) == before[3]
        assert installed.query(RIGHTS) == rights
        assert installed.query(DESCRIBED[1]) == before[1]
        partition(installed, 8)
        assert len(shares(installed)) == 8
        assert partition(installed, 0) == "medic: 200 documents, in a plain table\n"
        assert (described(installed), installed.query(ROWS)) == (before, rows)
    finally:
        installed.query('drop owned by "Analyst, guest"; drop role "Analyst, guest"')


def test_an_empty_table_is_partitioned_before_the_first_document_comes(installed: Installation) -> None:
    assert partition(installed, 2) == "medic: 0 documents, 2 partitions\n"
    filled(installed)
    assert sum(shares(installed).values()) == 200


def test_partitions_have_the_settings_that_the_table_had(installed: Installation) -> None:
    question = """
        select distinct reloptions, to_jsonb(a) ->> 'attcompression' from pg_class
          join pg_attribute as a on attrelid = pg_class.oid and attname = 'doc'
        where relkind = 'r' and relname ~ '^medic($|_[0-9])'
    """
    before = installed.query(question)
    partition(installed, 4)
    assert installed.query(question) == before
    assert len(before) == 1


@pytest.mark.parametrize("role", ["dbt", "authenticator"])
def test_nobody_but_the_owner_may_read_or_write_a_partition(installed: Installation, role: str) -> None:
    partition(filled(installed), 2)
    with closing(installed.login(role)) as connection, connection.cursor() as cursor:
        if role == "authenticator":
            cursor.execute(f"set role {installed.name}_ingest")
        cursor.execute("select count(*) from v1.medic")
        assert cursor.fetchall() == [(200,)]
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("select * from v1_partitions.medic_0_of_2")
        connection.rollback()
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute(
                f"set role {installed.name}_ingest; update v1_partitions.medic_0_of_2 set _rev = '9-x'"
            )


def test_a_row_that_goes_past_the_table_has_no_stamp_and_is_refused(installed: Installation) -> None:
    partition(installed, 2)
    with pytest.raises(psycopg2.Error, match=r"cht_sync\.stamp"):
        installed.query("insert into v1_partitions.medic_0_of_2 (_id, _rev) values ('a', '1-a')")


def test_positions_stamps_and_replays_are_those_of_the_table(installed: Installation) -> None:
    partition(filled(installed), 4)
    write(installed, "doc-1", "doc-2", "new-1", "new-2", "new-3")
    assert installed.progress() == ("2-x", None, 1, 2)
    stamped = installed.query(
        "select count(*), count(distinct saved_timestamp) from v1.medic where _rev = '2-b'"
    )
    assert stamped == [(5, 1)]
    rows = installed.query("select ctid, xmin::text, tableoid, * from v1.medic order by _id")
    write(installed, "doc-1", "doc-2", "new-1", batch=3)
    assert installed.query("select ctid, xmin::text, tableoid, * from v1.medic order by _id") == rows
    with pytest.raises(psycopg2.Error, match="another writer has taken over"):
        write(installed, "doc-1", rev="3-c", epoch=0, batch=9)
    with (
        transaction(installed) as connection,
        pytest.raises(psycopg2.Error, match="held by another writer"),
    ):
        put(connection, ("doc-1", "3-c", {}))


def test_a_stored_document_closes_its_dead_letter(installed: Installation) -> None:
    partition(installed, 4)
    installed.query(
        "insert into v1.dead_letters (fingerprint, source, database, doc_id, code, reason)"
        " values ('f', 'couch/medic', 'medic', 'late', '22P05', 'no jsonb'),"
        " ('g', 'couch/medic', 'medic', 'x', '', '')"
    )
    write(installed, "late")
    letters = installed.query("select doc_id, closed_by from v1.dead_letters order by 1")
    assert letters == [("late", "stored"), ("x", None)]


def test_init_db_has_nothing_to_do_with_a_partitioned_table(installed: Installation) -> None:
    partition(filled(installed), 4)
    catalog, rows = (
        installed.query(CATALOG),
        installed.query("select xmin::text, * from v1.medic order by _id"),
    )
    assert installed.init("medic medic-sentinel") == []
    assert installed.query(CATALOG) == catalog
    assert installed.query("select xmin::text, * from v1.medic order by _id") == rows


def test_what_a_partition_lacks_init_db_gives_it(installed: Installation) -> None:
    partition(installed, 2)
    installed.query("""
        alter table v1_partitions.medic_1_of_2 reset (autovacuum_vacuum_scale_factor,
          autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor);
        drop index v1.medic_saved_timestamp_idx; drop trigger end_write on v1.medic
    """)
    assert installed.init("medic medic-sentinel") == []
    question = "select count(*) from pg_class where relname ~ '^medic_._of_2$' and reloptions is not null"
    assert installed.value(question) == 2
    assert installed.value("select count(*) from pg_index where indrelid = 'v1.medic'::regclass") == 3
    assert installed.value("select count(*) from pg_trigger where tgrelid = 'v1.medic'::regclass") == 3


def test_a_partitioned_table_of_0_1_0_is_upgraded_in_place(kept: Installation) -> None:
    rows = kept.query("select to_jsonb(medic) from v1.medic order by _id")
    partition(kept, 4)
    assert kept.query("select to_jsonb(medic) from v1.medic order by _id") == rows
    databases = " ".join(name for (name,) in kept.query("select distinct database from v1.couchdb_progress"))
    assert any("layout upgraded from 0.1.0" in line for line in kept.init(databases))
    assert kept.query("select to_jsonb(medic) from v1.medic order by _id") == rows
    assert kept.value(KIND) == "p"
    assert kept.init(databases) == []


def test_a_partitioned_table_that_joins_the_others_is_stamped_anew(installed: Installation) -> None:
    filled(installed)
    partition(installed, 4)
    installed.init("medic-sentinel")
    said = installed.init("medic medic-sentinel")
    assert "medic: 200 documents are stamped anew, so that models see them" in said
    last = installed.value("select last_stamp from v1.cht_sync_state")
    assert installed.query("select distinct saved_timestamp from v1.medic") == [(last,)]
    triggers = "select distinct tgenabled::text from pg_trigger where tgname = any(%s)"
    assert installed.query(triggers, ["begin_write", "stamp_row", "end_write"]) == [("O",)]


def test_the_ingest_serves_the_table_before_and_after_and_never_a_partition(installed: Installation) -> None:
    with listening(installed) as served:
        assert post(served, {"before": "1-a"}, batch=1) == 201
        partition(installed, 4)
        # The ingest is told, and what comes before it knows is to come again.
        eventually(lambda: post(served, {"after": "1-a"}, batch=2) != 400)
        assert post(served, {"after": "2-b", "before": "1-a"}, batch=3) == 200
        assert post(served, {"after": "2-b", "new": "1-a"}, batch=4) == 201
        assert served.rows() == {"before": "1-a", "after": "2-b", "new": "1-a"}
        paths = requests.get(served.url, headers=token(served), timeout=PATIENCE).json()["paths"]
        assert "/medic" in paths
        assert not [path for path in paths if "_of_4" in path]
        lost = requests.get(f"{served.url}/medic_0_of_4", headers=token(served), timeout=PATIENCE)
        assert lost.status_code == 404


def token(served: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(SECRET, served.role)}"}


def post(served: Served, revisions: dict[str, str], *, batch: int) -> int:
    """Upsert as the pipeline does, through HTTP; the status of the answer."""
    rows = [
        {"_id": one, "_rev": rev, "_deleted": False, "doc": {}, "doc_as_upsert": True, "@version": "1"}
        for one, rev in revisions.items()
    ]
    prefer = {"Prefer": "resolution=merge-duplicates,return=minimal"}
    answer = requests.post(
        served.table_url + "&on_conflict=_id",
        json=rows,
        headers={**token(served), **prefer, **headers(1, batch, seq=f"{batch}-x")},
        timeout=PATIENCE,
    )
    assert answer.ok or answer.json()["code"] == "0A000", answer.text
    return answer.status_code


@contextmanager
def moving(
    installation: Installation, count: int = 4
) -> Iterator[tuple[threading.Thread, list[BaseException]]]:
    """The script in a thread, which has copied all and waits for the reader that is the caller."""
    failures: list[BaseException] = []

    def move() -> None:
        try:
            partition(installation, count)
        except BaseException as error:
            failures.append(error)

    mover = threading.Thread(target=move, daemon=True)
    with installation.connected() as reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from v1.all_documents")
        mover.start()
        waits = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'"
        eventually(lambda: installation.value(waits) > 0)
        yield mover, failures
    mover.join(PATIENCE)
    assert not mover.is_alive()


def test_who_writes_meanwhile_waits_and_writes_to_the_new_table(installed: Installation) -> None:
    filled(installed)
    with moving(installed) as (_mover, failures):
        writer = threading.Thread(target=write, args=(installed, "doc-1", "late"), daemon=True)
        writer.start()
        waits = "select count(*) from pg_locks where not granted and mode = 'RowExclusiveLock'"
        eventually(lambda: installed.value(waits) > 0)
        assert installed.value("select count(*) from v1.medic") == 200
    writer.join(PATIENCE)
    assert (failures, installed.value(KIND)) == ([], "p")
    assert sum(shares(installed).values()) == 201
    assert installed.value("select _rev from v1.medic where _id = 'doc-1'") == "2-b"


@pytest.mark.parametrize(
    "question",
    [
        "select count(*) from v1.all_documents",
        "select count(*) from v1.medic",
        "select count(*) from v1.medic as one join v1.couchdb as other using (_id)",
    ],
)
def test_who_reads_all_the_time_gets_an_answer_each_time(installed: Installation, question: str) -> None:
    filled(installed)
    done = threading.Event()
    answers: set[int] = set()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with installed.connected() as connection, connection.cursor() as cursor:
                while not done.is_set():
                    with connection:
                        cursor.execute(question)
                        answers.update(count for (count,) in cursor.fetchall())
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    eventually(lambda: answers or failures)
    for count in (4, 0, 16):
        partition(installed, count)
    done.set()
    reader.join(PATIENCE)
    assert (failures, answers) == ([], {200})


def test_a_killed_run_has_changed_nothing(installed: Installation) -> None:
    filled(installed)
    before = described(installed), installed.query(CATALOG)
    with moving(installed) as (_mover, failures):
        installed.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'psql'"
        )
        eventually(lambda: failures)
    assert (described(installed), installed.query(CATALOG)) == before
    assert isinstance(failures[0], ChtSyncError)
    assert partition(installed, 4) == "medic: 200 documents, 4 partitions\n"


def test_plain_views_of_anybody_read_the_new_table(installed: Installation) -> None:
    filled(installed).query(f"""
        set role {installed.name}_dbt;
        create view dbt.people with (security_barrier = true) as select _id as uuid, doc from v1.medic as m;
        create view dbt.both as select uuid, source from dbt.people join v1.medic on _id = uuid;
        create view dbt.counted as select count(*) from dbt.both;
        comment on view dbt.people is 'all of them'; grant select on dbt.people to {installed.name}_superset;
    """)
    about = """
        select oid, relname, relacl::text, reloptions, relowner, obj_description(oid) from pg_class
        where relkind = 'v' and relnamespace::regnamespace::text in ('v1', 'dbt') order by 2
    """
    before = installed.query(about)
    for batch, count in enumerate((4, 16, 0), 2):
        partition(installed, count)
        assert installed.query(about) == before
        write(installed, f"with-{count}", batch=batch)
        assert installed.query("table dbt.counted") == installed.query("select count(*) from v1.medic")
    assert installed.query("table dbt.counted") == [(203,)]


def test_views_that_are_made_or_replaced_meanwhile_stay_as_they_are(installed: Installation) -> None:
    """As by a run of dbt, while rows are copied."""
    role = f"set role {installed.name}_dbt"
    filled(installed).query(f"{role}; create view dbt.people as select _id as uuid from v1.medic")
    with moving(installed) as (_mover, failures):
        installed.query(
            f"{role}; create or replace view dbt.people as select _id as uuid, _rev from v1.medic"
        )
        installed.query(f"{role}; create view dbt.more as select doc from v1.medic")
    assert (failures, installed.value(KIND)) == ([], "p")
    write(installed, "doc-1")
    assert installed.value("select _rev from dbt.people where uuid = 'doc-1'") == "2-b"
    assert installed.value("select count(*) from dbt.more where doc ? 'new'") == 1


def test_rights_that_are_given_and_taken_meanwhile_stay_so(installed: Installation) -> None:
    given, taken = f"{installed.name}_superset", f"{installed.name}_dbt"
    with moving(filled(installed)) as (_mover, failures):
        installed.query(f"grant select on v1.medic to {given}; revoke select on v1.medic from {taken}")
    assert (failures, installed.value(KIND)) == ([], "p")
    may = "select has_table_privilege(%s, 'v1.medic', 'select')"
    assert [installed.value(may, role) for role in (given, taken)] == [True, False]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("create materialized view dbt.kept as select _id from v1.medic", "materialized view dbt.kept"),
        (
            "create function dbt.one(v1.medic) returns text language sql as 'select $1._id'",
            "function dbt.one",
        ),
        ("create publication mine for table v1.medic", "publication"),
        ("create policy all_of_it on v1.medic using (true)", "policy all_of_it"),
        ("alter table v1.medic enable row level security", "row level security"),
        ("create view dbt.whole as select medic from v1.medic", "view dbt.whole"),
        ("create table dbt.refers (id text references v1.medic)", "constraint"),
    ],
)
def test_what_would_be_lost_is_named_and_nothing_is_changed(
    installed: Installation, statement: str, what: str
) -> None:
    installed.query(statement)
    before = described(installed)
    said = refusal(installed)
    assert what in said
    assert "Nothing was changed" in said
    assert described(installed) == before


@pytest.mark.parametrize(
    ("count", "variables", "what"),
    [
        (1, {}, "partitions is to be 0, or from 2 to 1024"),
        (1025, {}, "partitions is to be 0, or from 2 to 1024"),
        ("", {}, "partitions is to be 0, or from 2 to 1024"),
        (0, {}, "the table is not partitioned"),
        (4, {"table": "couchdb_progress"}, "v1.couchdb_progress is no table of documents"),
        (4, {"table": "all_documents"}, "v1.all_documents is no table of documents"),
        (4, {"schema": "v'; drop"}, '"v\'; drop".medic is no table of documents'),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    installed: Installation, count: int | str, variables: dict[str, str], what: str
) -> None:
    assert what in refusal(installed, count, **variables)


def test_an_owner_who_is_no_superuser_can_do_it_also_in_another_schema(empty: Installation) -> None:
    with plain_owner(empty) as owner:
        empty.init("medic", owner=owner, POSTGRES_SCHEMA="raw data")
        empty.query(f'set role {empty.name}_dbt;create view dbt.people as select * from "raw data".medic')
        partition(empty, 4, login=owner, schema="raw data")
        assert (
            empty.value(
                "select count(*) from pg_class where relnamespace = '\"raw data_partitions\"'::regnamespace"
                " and relkind = 'r'"
            )
            == 4
        )
        assert empty.init("medic", owner=owner, POSTGRES_SCHEMA="raw data") == []
        partition(empty, 0, login=owner, schema="raw data")
        assert empty.query("table dbt.people") == []


def test_an_owner_who_may_make_no_schemas_is_told_before_anything_is_copied(empty: Installation) -> None:
    with plain_owner(empty) as owner:
        empty.init("medic", owner=owner)
        empty.query(f"alter database {empty.name} owner to {empty.server.user}")
        empty.query(f"create schema v1_partitions authorization {owner[0]}")
        said = refusal(empty, 4, login=owner)
        assert f"grant create on database {empty.name} to {owner[0]}" in said
        assert "Nothing was changed" in said
        empty.query(f"grant create on database {empty.name} to {owner[0]}")
        assert partition(empty, 4, login=owner) == "medic: 0 documents, 4 partitions\n"


def test_partitions_are_made_in_no_schema_of_somebody_else(empty: Installation) -> None:
    """Whoever owns a schema may drop what is in it."""
    with plain_owner(empty) as owner:
        empty.init("medic", owner=owner)
        empty.query(f"create schema v1_partitions; grant all on schema v1_partitions to {owner[0]}")
        said = refusal(empty, 4, login=owner)
        assert f"alter schema v1_partitions owner to {owner[0]}" in said
        empty.query(f"alter schema v1_partitions owner to {owner[0]}")
        assert partition(empty, 4, login=owner) == "medic: 0 documents, 4 partitions\n"
