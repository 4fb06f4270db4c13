"""`cht-sync migrate views`: what couch2pg's users find, over our tables."""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg2
import pytest
from postgres_fixture import on_every_server
from psycopg2 import sql
from transform.looping import eventually
from warehouse.partitioning import partition

from cht_sync.errors import ChtSyncError
from migrate.both import DATABASES, Both
from migrate.couch2pg_schema import MATERIALISED, TABLES_OF_DOCUMENTS, VIEWS

pytest_generate_tests = on_every_server

REFRESH = "select couch2pg.refresh_matviews()"
INDEXES = """
    select tablename::text, indexname::text, regexp_replace(indexdef, ' ON \\S+', ' ON') from pg_indexes
    where schemaname = %s and tablename = any(%s) order by 1, 2
"""


def indexed(both: Both, schema: str) -> list[tuple[object, ...]]:
    return both.query(INDEXES, schema, list(MATERIALISED))


def test_every_view_gives_the_rows_of_couch2pg(both: Both) -> None:
    both.delete("medic", "00000000")
    assert both.migrate(old_schema="public").failed == []
    both.query("select refresh_matviews()")
    for view in (*TABLES_OF_DOCUMENTS, *VIEWS):
        assert both.columns("couch2pg", view) == both.columns("public", view), view
        assert both.rows("couch2pg", view) == both.rows("public", view), view
        assert both.rows("public", view) or view == "couchdb_medic_logs", f"{view} was compared without rows"
    assert indexed(both, "couch2pg") == indexed(both, "public")


def test_deleted_documents_are_not_there(both: Both) -> None:
    both.migrate()
    ((gone,),) = both.query("select _id from v1.medic where doc ->> 'type' = 'data_record' limit 1")
    both.delete("medic", gone)
    both.query(REFRESH)
    found = "select count(*) from couch2pg.{} where {} = %s"
    for view, column in (("couchdb", "doc ->> '_id'"), ("form_metadata", "uuid")):
        assert both.query(found.format(view, column), gone) == [(0,)]


def test_a_role_with_a_search_path_runs_old_sql(both: Both) -> None:
    role = both.person("dashboards", may="alter role {role} set search_path = couch2pg, public")
    both.query("revoke all on schema public from public")
    both.migrate(readers=[role])
    old = """
        select m.name, count(*) from form_metadata join contactview_metadata m on m.uuid = form_metadata.chw
        join couchdb on couchdb.doc ->> '_id' = form_metadata.uuid
        where get_telemetry_date('4.1.0', '2023', '5', '6') = '2023-05-06' group by 1 order by 1
    """
    expected = both.query("set search_path = public; " + old)
    assert both.asked_by(role, old) == expected != []
    assert both.asked_by(role, "select refresh_matviews()") == [(1,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        both.asked_by(role, "select * from v1.medic")


def test_nobody_else_may_read_or_refresh(both: Both) -> None:
    stranger = both.person("stranger")
    both.migrate()
    superset = f"{both.installation.name}_superset"
    for role in (stranger, superset):
        for relation in (*TABLES_OF_DOCUMENTS, *VIEWS):
            asked = (
                "select has_table_privilege(%s, %s, 'select'), has_schema_privilege(%s, 'couch2pg', 'usage')"
            )
            assert both.query(asked, role, f"couch2pg.{relation}", role) == [(False, False)]
        may = "select has_function_privilege(%s, 'couch2pg.refresh_matviews()', 'execute')"
        assert both.query(may, role) == [(False,)]
    with closing(both.installation.login("dbt")) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) > 0 from couch2pg.contactview_metadata")
        assert cursor.fetchone() == (True,)
        cursor.execute(REFRESH)
        assert cursor.fetchone() == (1,)


def test_a_second_run_changes_nothing_and_says_so(both: Both) -> None:
    role = both.person("dashboards")
    assert both.migrate(readers=[role]).done
    before = both.catalog()
    assert both.migrate().done == []
    assert both.catalog() == before
    said = both.cli()
    assert said.exit_code == 0, said.output
    assert said.output.endswith("is up to date; nothing was changed.\n")


def test_what_is_missing_is_made_again(both: Both) -> None:
    role = both.person("dashboards")
    both.migrate(readers=[role])
    before = {view: both.rows("couch2pg", view) for view in VIEWS}
    both.query("drop materialized view couch2pg.contactview_metadata cascade")
    both.query("drop index couch2pg.form_metadata_uuid")
    done = both.migrate().done
    assert "contactview_metadata: materialized view made" in done
    assert {view: both.rows("couch2pg", view) for view in VIEWS} == before
    assert indexed(both, "couch2pg") == indexed(both, "public")
    assert both.asked_by(role, "select count(*) > 0 from couch2pg.contactview_chw") == [(True,)]


def test_a_database_that_joins_and_one_that_leaves(ours: Both) -> None:
    ours.init("medic")
    ours.store("medic", [{"_id": "ada", "type": "person", "name": "Ada"}])
    ours.migrate()
    assert ours.rows("couch2pg", "useview_telemetry") == []
    ours.init("medic", "medic-sentinel", "medic-users-meta")
    ours.store("medic-sentinel", [{"_id": "ada-info", "type": "info"}])
    meta = {"year": 2023, "month": 5, "day": 6, "user": "ada", "versions": {"app": "4.2.0"}}
    ours.store("medic-users-meta", [{"_id": "telemetry-1", "type": "telemetry", "metadata": meta}])
    assert "couchdb: renewed" in ours.migrate().done
    ours.query(REFRESH)
    assert ours.query("select doc ->> '_id' from couch2pg.couchdb order by 1") == [("ada",), ("ada-info",)]
    assert ours.query("select period_start::text from couch2pg.useview_telemetry") == [("2023-05-06",)]
    ours.init("medic")
    ours.migrate()
    ours.query('drop table v1."medic-sentinel"')
    assert ours.query("select doc ->> '_id' from couch2pg.couchdb") == [("ada",)]


def test_ids_that_two_databases_share_do_not_stop_it(ours: Both) -> None:
    ours.init("medic", "archive")
    for database in ("medic", "archive"):
        ours.store(
            database,
            [
                {"_id": "ada", "type": "person", "name": "Ada"},
                {"_id": "report", "type": "data_record", "form": "delivery", "reported_date": 1},
            ],
        )
    ours.migrate()
    ours.query(REFRESH)
    assert ours.query("select uuid, name from couch2pg.contactview_metadata") == [("ada", "Ada")]
    assert ours.query("select uuid from couch2pg.form_metadata") == [("report",)]


BAD_DATES = ("soon", True, {"year": 2020}, "1e", "٣", 1e300, -1e300, "", " ", [1], "99999999999999999999")
GOOD_DATES = (
    1514764800000,
    "1514764800000",
    " 1514764800000 ",
    0,
    -1,
    "+7",
    9223372036854000,
    -210866803200000,
)
BAD_META: tuple[object, ...] = (
    None,
    {"year": "2020"},
    {"year": 2020, "month": "May", "day": 1, "versions": {"app": "4.0.0"}},
    {"year": 2020, "month": 13, "day": 1, "versions": {"app": "4.0.0"}},
    {"year": 2020, "month": 12, "versions": {"app": "3.7.0"}},
    {"year": 2020, "month": 2, "day": 31, "versions": {"app": "4.0.0"}},
    {"month": 2, "day": 3, "versions": {"app": "4.0.0"}},
    {"year": "", "month": 2, "versions": {"app": "3x8x0"}},
    "text",
)
BAD_METRICS: tuple[object, ...] = (
    None,
    "text",
    [1, 2],
    {"a": 1, "b": None, "c": "x", "d": [1]},
    {"a": {"min": "x", "max": {}, "sum": True, "count": 1.5, "sumsqr": [1]}},
    {"a": {"min": 1e300, "count": 10**20, "max": "1e999999"}},
)


def test_documents_that_couch2pg_cannot_read_stop_nothing(both: Both) -> None:
    both.store(
        "medic",
        ({"_id": f"good-{n}", "type": "person", "reported_date": date} for n, date in enumerate(GOOD_DATES)),
    )
    both.store(
        "medic",
        (
            {"_id": f"good-report-{n}", "type": "data_record", "form": "f", "reported_date": date}
            for n, date in enumerate(GOOD_DATES)
        ),
    )
    both.query("select refresh_matviews()")
    expected = {view: both.rows("public", view) for view in VIEWS}
    bad = [
        {"_id": f"bad-{kind}-{number}", "type": kind, "form": "f", "reported_date": date}
        for kind in ("person", "data_record")
        for number, date in enumerate(BAD_DATES)
    ]
    both.store("medic", bad)
    bad_meta = [
        {"_id": f"bad-meta-{number}", "type": "telemetry", "metadata": metadata, "metrics": {"a": {"min": 1}}}
        for number, metadata in enumerate(BAD_META)
    ]
    bad_metrics = [
        {"_id": f"bad-metrics-{number}", "type": "telemetry", "metrics": metrics}
        for number, metrics in enumerate(BAD_METRICS)
    ]
    both.store("medic-users-meta", [*bad_meta, *bad_metrics])
    with pytest.raises(psycopg2.DataError):
        both.query("select refresh_matviews()")
    both.migrate()
    both.query(REFRESH)
    for view in VIEWS:
        if view != "useview_telemetry_devices":
            rows = [row for row in both.rows("couch2pg", view) if "bad-" not in row]
            assert rows == expected[view], view
    unread = "select count(*) from couch2pg.{} where reported is null and uuid ~ '^bad-'"
    assert both.query(unread.format("contactview_metadata")) == [(len(BAD_DATES),)]
    assert both.query(unread.format("form_metadata")) == [(len(BAD_DATES),)]
    dates = (
        "select count(*) from couch2pg.useview_telemetry where uuid ~ '^bad-meta' and period_start is null"
    )
    assert both.query(dates) == [(len(BAD_META),)]
    figures = """
        select metric, min, max, sum, count, sumsqr from couch2pg.useview_telemetry_metrics
        where telemetry_doc_id = %s
    """
    assert both.query(figures, "bad-metrics-4") == [("a", None, None, None, None, None)]


@pytest.mark.parametrize(
    "metrics",
    [
        {"a": {"min": 1, "max": 2.50, "sum": -3, "count": 4, "sumsqr": 1e-3}},
        {"a": {"min": "1.5", "count": " 7 "}, "b": {}},
        {"a": {"min": 10**40, "count": 2**63 - 1}, "": {"min": None}},
    ],
)
def test_figures_of_telemetry_are_read_as_couch2pg_reads_them(ours: Both, metrics: object) -> None:
    ours.with_couch2pg()
    ours.store("medic-users-meta", [{"_id": "one", "type": "telemetry", "metrics": metrics}])
    ours.query("refresh materialized view useview_telemetry_metrics")
    ours.migrate()
    view = "useview_telemetry_metrics"
    assert ours.rows("couch2pg", view) == ours.rows("public", view) != []


@pytest.mark.parametrize(
    "given",
    [
        ("4.10.0", "2023", "5", "17"),
        ("3.7.1", "2019", "0", None),
        ("3.7.1", "2019", "11", ""),
        ("3.8.0", "2019", "11", None),
        (None, "2019", "3", None),
        ("", "2019", "3", "4"),
        ("master", "2019", "3", None),
        ("4.2.0", "", "x", "y"),
        ("4.2.0", None, "1", "2"),
        ("4.2.0-alpha.12", "2021", "02", "09"),
    ],
)
def test_dates_of_telemetry_are_those_of_couch2pg(ours: Both, given: tuple[str | None, ...]) -> None:
    ours.with_couch2pg()
    ours.migrate()
    ((old, new),) = ours.query(
        "select public.get_telemetry_date(%s, %s, %s, %s), couch2pg.get_telemetry_date(%s, %s, %s, %s)",
        *given,
        *given,
    )
    assert old == new


def test_one_view_that_fails_does_not_keep_the_others_old(both: Both) -> None:
    both.migrate()
    both.query(
        "create materialized view couch2pg.brittle as select (doc ->> 'n')::int as n from couch2pg.couchdb"
    )
    both.store("medic", [{"_id": "new", "type": "person", "n": "none"}])
    with closing(both.installation.connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute(REFRESH)
        assert cursor.fetchone() == (1,)
        assert [one for one in connection.notices if one.startswith("WARNING:  brittle: ")]
    assert both.query("select count(*) from couch2pg.contactview_metadata where uuid = 'new'") == [(1,)]


def test_readers_do_not_wait_for_a_refresh(both: Both) -> None:
    both.migrate()
    with closing(both.installation.connect()) as reading, reading.cursor() as cursor:
        for view in MATERIALISED:
            cursor.execute(sql.SQL("select * from couch2pg.{} limit 1").format(sql.Identifier(view)))
        both.query("set statement_timeout = '60s'; " + REFRESH)


def test_views_over_views_are_refreshed_after_what_they_read(both: Both) -> None:
    both.migrate()
    both.query("""
        create materialized view couch2pg.z_first as select doc ->> '_id' as uuid from couch2pg.couchdb;
        create view couch2pg.between as select uuid from couch2pg.z_first;
        create materialized view couch2pg.a_last as select uuid from couch2pg.between;
    """)
    both.store("medic", [{"_id": "new", "type": "person"}])
    both.query(REFRESH)
    assert both.query("select count(*) from couch2pg.a_last where uuid = 'new'") == [(1,)]


def test_materialised_views_elsewhere_are_left_alone(both: Both) -> None:
    both.migrate()
    both.query("create materialized view public.of_somebody as select clock_timestamp() as at")
    before = both.rows("public", "of_somebody")
    both.query(REFRESH)
    assert both.rows("public", "of_somebody") == before


def test_dropped_it_leaves_no_trace(both: Both) -> None:
    def shapes() -> list[tuple[object, ...]]:
        return [row[:3] for row in both.catalog()]

    before = shapes(), both.query("select proname from pg_proc order by 1")
    both.migrate(readers=[both.person("dashboards")])
    assert shapes() != before[0]
    said = both.cli("--drop")
    assert said.exit_code == 0, said.output
    assert (shapes(), both.query("select proname from pg_proc order by 1")) == before
    again = both.cli("--drop")
    assert (again.exit_code, again.output) == (0, f"{both.installation.name} has no schema couch2pg.\n")


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("create table couch2pg.notes (note text)", "couch2pg.notes"),
        ("create view couch2pg.mine as select 1 as one", "couch2pg.mine"),
        ("create view public.outside as select * from couch2pg.raw_contacts", "public.outside"),
        ("create function couch2pg.mine() returns int language sql as 'select 1'", "couch2pg.mine()"),
    ],
)
def test_what_others_made_is_not_dropped_with_it(both: Both, made: str, named: str) -> None:
    both.migrate()
    both.query(made)
    before = both.catalog()
    with pytest.raises(ChtSyncError, match="would be lost") as refused:
        both.drop()
    assert str(refused.value).startswith(f"{named} ")
    assert both.catalog() == before


def test_a_schema_of_somebody_else_is_refused_before_anything_is_changed(both: Both) -> None:
    both.query("create schema couch2pg; create table couch2pg.theirs (a int)")
    before = both.catalog()
    for refused in (both.cli(), both.cli("--drop")):
        assert refused.exit_code == 1
        assert "the schema couch2pg is there, and was not made by this command" in refused.output
    assert both.catalog() == before


def test_roles_and_schemas_that_are_not_there_are_refused_before_anything_is_changed(both: Both) -> None:
    before = both.catalog()
    for words, said in (
        (("--grant", "nobody_at_all"), "nobody_at_all: no such role in PostgreSQL"),
        (
            ("--from", "elsewhere"),
            "the schema elsewhere has no table couchdb of couch2pg's; there is one in public",
        ),
    ):
        refused = both.cli(*words)
        assert refused.exit_code == 1
        assert said in refused.output
    assert both.catalog() == before


def test_a_database_without_a_table_is_told_with_the_remedy(ours: Both) -> None:
    ours.databases = ("medic", "new")
    refused = ours.cli()
    assert refused.exit_code == 1
    assert "v1.new: no such table" in refused.output
    assert "cht-sync init-db" in refused.output


def test_a_document_is_found_by_an_index(both: Both) -> None:
    both.migrate()
    lookup = "explain select doc from couch2pg.couchdb where doc ->> '_id' = 'x'"
    plan = "\n".join(line for (line,) in both.query("set enable_seqscan = off; " + lookup))
    assert plan.count("Index Cond: ((doc ->> '_id'::text) = 'x'::text)") == 2, plan
    assert both.query("select count(*) from pg_indexes where indexname ~ '^couch2pg_'") == [(8,)]


def test_without_indexes_none_are_made(both: Both) -> None:
    both.migrate(indexes=False)
    assert both.query(
        "select count(*) from pg_indexes where schemaname = 'v1' and indexname ~ '^couch2pg_'"
    ) == [(0,)]


def test_an_index_that_a_killed_run_left_is_made_anew(both: Both) -> None:
    both.migrate()
    both.query("""
        update pg_index set indisvalid = false
        where indexrelid = (select oid from pg_class where relname ~ '^couch2pg_id' limit 1)
    """)
    assert len(both.migrate().done) == 1
    assert both.query("select count(*) from pg_index where not indisvalid") == [(0,)]


def test_dropped_it_takes_what_a_killed_run_left_of_an_index(both: Both) -> None:
    both.migrate()
    both.query("""
        delete from pg_description
        where description = 'made by cht-sync migrate views' and classoid = 'pg_class'::regclass
    """)
    both.drop()
    assert both.query("select count(*) from pg_indexes where indexname ~ '^couch2pg_'") == [(0,)]


def test_tables_may_be_partitioned_before_and_after(both: Both) -> None:
    partition(both.installation, 4)
    both.migrate()
    expected = {view: both.rows("couch2pg", view) for view in VIEWS}
    for count in (0, 8):
        partition(both.installation, count)
        assert both.migrate().done == []
        both.query(REFRESH)
        assert {view: both.rows("couch2pg", view) for view in VIEWS} == expected
    both.store("medic", [{"_id": "new", "type": "person"}])
    both.query(REFRESH)
    assert both.query("select count(*) from couch2pg.contactview_metadata where uuid = 'new'") == [(1,)]
    assert both.query("select count(*) from pg_index where not indisvalid") == [(0,)]
    both.drop()
    assert both.query(
        "select count(*) from pg_indexes where indexdef ~ 'doc ->>' and schemaname ~ '^v1'"
    ) == [(0,)]


def test_two_runs_at_once_do_not_wait_for_each_other(both: Both) -> None:
    with closing(both.installation.connect()) as other, other.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(hashtextextended('cht-sync migrate views', 0))")
        with pytest.raises(ChtSyncError, match="is under way elsewhere"):
            both.migrate()


def test_it_is_made_while_documents_are_written(both: Both) -> None:
    ended = threading.Event()

    def write() -> None:
        for number in range(200):
            both.store("medic-sentinel", [{"_id": f"written-{number}", "type": "info"}])
            if ended.is_set():
                break

    writer = threading.Thread(target=write)
    writer.start()
    try:
        both.migrate()
    finally:
        ended.set()
        writer.join()
    assert both.query("select count(*) from pg_index where not indisvalid") == [(0,)]


@pytest.mark.parametrize("part", ["couchdb", "raw_contacts", "contactview_metadata", "form_metadata"])
def test_a_part_that_another_version_made_is_made_anew_under_what_reads_it(both: Both, part: str) -> None:
    role = both.person("dashboards")
    both.query("create materialized view useview_own as select chw, count(*) from form_metadata group by chw")
    both.migrate(readers=[role])
    both.query("create view couch2pg.mine as select * from couch2pg.contactview_clinic")
    before = {view: both.rows("couch2pg", view) for view in (*VIEWS, "useview_own", "mine")}
    both.query("update couch2pg.cht_sync_parts set made_of = 'another version' where name = %s", part)
    report = both.migrate()
    assert report.failed == []
    assert report.done[0].startswith(f"{part}: ")
    assert {view: both.rows("couch2pg", view) for view in before} == before
    for view in ("mine", "useview_own", "contactview_chw"):
        assert both.asked_by(role, f"select count(*) >= 0 from couch2pg.{view}") == [(True,)]
    assert both.migrate().done == []


def test_a_part_that_is_read_elsewhere_is_not_dropped_under_it(both: Both) -> None:
    both.migrate()
    both.query("create view public.outside as select * from couch2pg.contactview_metadata")
    both.query("update couch2pg.cht_sync_parts set made_of = 'other' where name = 'contactview_metadata'")
    before = both.catalog()
    with pytest.raises(ChtSyncError, match=r"has to be made anew, and public\.outside would be lost with it"):
        both.migrate()
    assert both.catalog() == before


WRITABLE = """
    select relname::text from pg_class
    where relnamespace = 'couch2pg'::regnamespace and relkind = 'v'
      and pg_relation_is_updatable(oid, false) <> 0
"""


@pytest.mark.parametrize("databases", [DATABASES, ("medic", "_users"), ("medic-users-meta",)])
def test_nobody_can_write_through_a_view(ours: Both, databases: tuple[str, ...]) -> None:
    ours.with_couch2pg()
    ours.query(
        "create view mine as select doc from couchdb_users_meta; create view people as table raw_contacts"
    )
    ours.init(*databases)
    role = ours.person("dashboards", may="grant all on mine, people to {role}")
    ours.migrate(readers=[role])
    assert ours.query(WRITABLE) == []
    for view in ("mine", "people"):
        may = "select has_table_privilege(%s, %s, 'select'), has_table_privilege(%s, %s, 'insert, delete')"
        assert ours.query(may, role, f"couch2pg.{view}", role, f"couch2pg.{view}") == [(True, False)]
        with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
            ours.query(f"delete from couch2pg.{view}")


@pytest.mark.parametrize("partitions", [0, 4])
def test_a_document_of_a_lone_database_is_found_by_an_index(both: Both, partitions: int) -> None:
    both.init("medic", "medic-users-meta")
    if partitions:
        partition(both.installation, partitions)
    both.migrate()
    for view, parts in (
        ("couchdb", max(partitions, 1)),
        ("couchdb_users_meta", 1),
        ("raw_contacts", max(partitions, 1)),
    ):
        lookup = f"explain select doc from couch2pg.{view} where doc ->> '_id' = 'x'"
        plan = "\n".join(line for (line,) in both.query("set enable_seqscan = off; " + lookup))
        assert plan.count("Index Cond: ((doc ->> '_id'::text) = 'x'::text)") == parts, plan


SLOW = "create materialized view couch2pg.slow as select pg_sleep(30)::text as slept with no data"


def test_a_time_limit_ends_the_view_at_which_it_strikes_and_no_other(both: Both) -> None:
    both.migrate()
    both.query(SLOW)
    both.store(
        "medic", [{"_id": "new", "type": "person"}, {"_id": "new-form", "type": "data_record", "form": "f"}]
    )
    with closing(both.installation.connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set statement_timeout = '2s'")
        cursor.execute(REFRESH)
        assert [one.partition(":  ")[2][:5] for one in connection.notices] == ["slow:"]
    assert both.query("select count(*) from couch2pg.contactview_metadata where uuid = 'new'") == [(1,)]
    assert both.query("select count(*) from couch2pg.form_metadata where uuid = 'new-form'") == [(1,)]


def test_who_cancels_a_refresh_cancels_all_of_it(both: Both) -> None:
    both.migrate()
    both.query(SLOW)
    at_work = "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    with closing(both.installation.connect()) as connection, connection, connection.cursor() as cursor:

        def cancel() -> None:
            eventually(lambda: both.query(at_work) != [])
            connection.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("set statement_timeout = '1h'; " + REFRESH)
        canceller.join()


def test_a_view_of_somebody_else_there_is_not_made_again_as_ours(both: Both) -> None:
    role = both.person("analyst")
    both.migrate(readers=[role])
    both.query(f"""
        grant create on schema couch2pg to {role}; set role {role};
        create view couch2pg.theirs as select * from couch2pg.contactview_metadata
    """)
    both.query("update couch2pg.cht_sync_parts set made_of = 'other' where name = 'contactview_metadata'")
    before = both.catalog()
    with pytest.raises(ChtSyncError, match=r"made anew, and couch2pg\.theirs would be lost with it"):
        both.migrate()
    assert both.catalog() == before
