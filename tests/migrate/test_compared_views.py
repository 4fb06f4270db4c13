"""What `compare_views` finds between an old program's views and those in their place."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from postgres_fixture import on_every_server
from psycopg2 import extensions

from cht_sync.migrate.compared_views import ViewFinding, compare_views
from cht_sync.migrate.old import Program
from migrate.both import Both
from migrate.couch2pg_schema import VIEWS

pytest_generate_tests = on_every_server

TWICE = """
    insert into couchdb_users_meta select '{"_id": "a", "type": "feedback"}' from generate_series(1, 2)
"""


def compared(both: Both, **given: Any) -> dict[str, ViewFinding]:
    settings = {"old_schema": "public", "new_schema": "couch2pg", "old_program": Program.COUCH2PG, **given}
    with closing(both.installation.connect()) as connection:
        found = compare_views(connection, **settings)
        assert connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
    return {one.name: one for one in found}


def test_views_over_the_same_documents_are_the_same(both: Both) -> None:
    both.query("create materialized view useview_own as select chw, count(*) from form_metadata group by chw")
    both.migrate()
    before = both.catalog()
    found = compared(both)
    assert {*found} == {*VIEWS, "useview_own"}
    assert [one for one in found.values() if not one.same or one.note] == []
    assert found["contactview_metadata"].rows_old == found["contactview_metadata"].rows_new != 0
    assert both.catalog() == before


def test_what_couch2pg_has_not_refreshed_is_computed_anew(both: Both) -> None:
    both.store("medic", [{"_id": "new", "type": "person", "parent": {"_id": "new-area"}}])
    both.store("medic", [{"_id": "new-area", "type": "health_center"}])
    both.migrate()
    found = compared(both)
    assert [one for one in found.values() if not one.same] == []
    assert found["contactview_chw"].rows_new == len(both.rows("couch2pg", "contactview_chw"))
    assert len(both.rows("public", "contactview_metadata")) == found["contactview_metadata"].rows_new - 2


def test_rows_that_one_side_lacks_are_counted(both: Both) -> None:
    both.migrate()
    rows = len(both.rows("couch2pg", "useview_feedback"))
    both.query(TWICE)
    both.query(
        'insert into v1."medic-users-meta" (_id, doc) values (\'b\', \'{"_id": "b", "type": "feedback"}\')'
    )
    both.query("select couch2pg.refresh_matviews()")
    found = compared(both)["useview_feedback"]
    assert found == ViewFinding("useview_feedback", rows + 2, rows + 1, 2, 1, None)
    assert not found.same


def test_the_same_row_twice_is_not_once(both: Both) -> None:
    both.migrate()
    both.query(TWICE)
    both.query(
        'insert into v1."medic-users-meta" (_id, doc) values (\'a\', \'{"_id": "a", "type": "feedback"}\')'
    )
    both.query("select couch2pg.refresh_matviews()")
    found = compared(both)["useview_feedback"]
    assert (found.only_old, found.only_new) == (1, 0)


def test_a_view_without_a_counterpart_and_one_that_fails_are_told(both: Both) -> None:
    both.query("create view useview_lost as select doc ->> '_id' as uuid from couchdb")
    both.query("create view brittle as select (doc ->> 'odd')::int as odd from couchdb")
    both.migrate()
    both.query("drop view couch2pg.useview_lost")
    both.query("insert into v1.medic (_id, doc) values ('odd', '{\"odd\": \"x\"}')")
    found = compared(both)
    assert found["useview_lost"] == ViewFinding(
        "useview_lost", None, None, None, None, "couch2pg has no useview_lost", fault=True
    )
    assert found["brittle"].note == 'cannot be compared: invalid input syntax for type integer: "x"'
    assert found["brittle"].fault
    assert not found["useview_lost"].same
    assert not found["brittle"].same
    assert found["form_metadata"].same


def test_a_document_that_couch2pg_cannot_read_is_told_at_its_view(both: Both) -> None:
    both.store("medic", [{"_id": "bad", "type": "data_record", "form": "f", "reported_date": "soon"}])
    both.migrate()
    found = compared(both)
    assert found["form_metadata"].note is not None
    assert found["form_metadata"].note.startswith(
        "its rows cannot be computed: invalid input syntax for type bigint"
    )
    assert not found["form_metadata"].fault
    assert found["contactview_metadata"].same


MODELS = """
    create schema old_models; create schema new_models;
    create table old_models.person (uuid text, seen json, at point, saved_timestamp timestamp, former int);
    create table new_models.person (uuid varchar, seen json, at point, saved_timestamp timestamp,
      "@timestamp" timestamptz);
    insert into old_models.person values ('a', '{"n": 1}', '(1,2)', now(), 1), ('b', null, null, now(), 2);
    insert into new_models.person values ('a', '{"n": 1}', '(1,2)', '2020-01-01', null),
      ('b', null, null, null, null);
    create view old_models.people as select count(*) from old_models.person;
    create materialized view new_models.people as select count(*) + 1 as count from new_models.person;
    create table old_models.medic (_id text, doc jsonb);
    create table old_models.gone (a int);
    create table old_models.nothing_alike (a int); create table new_models.nothing_alike (b int);
"""


def models_compared(both: Both) -> dict[str, ViewFinding]:
    return compared(
        both,
        old_schema="old_models",
        new_schema="new_models",
        old_program=Program.CHT_SYNC_2,
        without={"medic"},
    )


def test_models_are_compared_over_the_columns_that_both_have(ours: Both) -> None:
    ours.query(MODELS)
    found = models_compared(ours)
    assert found == {
        "gone": ViewFinding("gone", None, None, None, None, "new_models has no gone", fault=True),
        "nothing_alike": ViewFinding(
            "nothing_alike", None, None, None, None, "no column is in both", fault=True
        ),
        "people": ViewFinding("people", 1, 1, 1, 1, None),
        "person": ViewFinding(
            "person", 2, 2, 0, 0, "only in the old one: former; only in the new one: @timestamp", fault=True
        ),
    }
    assert found["person"].same
    assert not found["people"].same


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_connection_is_as_it_was(both: Both, autocommit: bool) -> None:
    both.migrate()
    with closing(both.installation.connect()) as connection:
        connection.autocommit = autocommit
        compare_views(connection, old_schema="public", new_schema="couch2pg", old_program=Program.COUCH2PG)
        assert connection.autocommit is autocommit
        with connection.cursor() as cursor:
            cursor.execute(
                "select to_regclass('pg_temp.form_metadata'), current_setting('transaction_isolation')"
            )
            assert cursor.fetchone() == (None, "read committed")


RUNS = """
    create sequence ran; grant usage on sequence ran to {analyst};
    set role {analyst};
    create function theirs() returns bigint language sql as $$ select nextval('public.ran') $$;
    reset role;
"""
HAS_RUN = "select is_called from ran"


@pytest.fixture
def analyst(both: Both) -> str:
    """A role with a function whose runs are seen, also those that were undone."""
    role = both.person("analyst", may="grant create, usage on schema public to {role}")
    both.query(RUNS.format(analyst=role))
    both.query(f"grant select on couchdb, form_metadata to {role}")
    return role


def test_what_somebody_else_wrote_is_not_run(both: Both, analyst: str) -> None:
    both.query(f"""
        set role {analyst};
        create materialized view theirs as select theirs() as n from couchdb with no data;
        create view seen as select theirs() as n from couchdb;
        reset role;
        create materialized view calling as select theirs() as n from couchdb with no data;
        create view over as select n from seen, couchdb;
    """)
    both.migrate()
    lost = compared(both)
    assert lost["theirs"].fault
    assert lost["theirs"].note == (
        f"couch2pg has no theirs: it belongs to {analyst}; "
        f"read its SQL, then: cht-sync migrate views --trust {analyst}"
    )
    both.query("""
        create table couch2pg.theirs (n bigint); create table couch2pg.seen (n bigint);
        create table couch2pg.calling (n bigint); create table couch2pg.over (n bigint);
    """)
    found = compared(both)
    assert both.query(HAS_RUN) == [(False,)]
    not_run = f"it belongs to {analyst}, whose SQL is not run here"
    assert found["theirs"].note == found["seen"].note == not_run
    uses = f"it uses function public.theirs() of {analyst}, whose SQL is not run here"
    assert found["calling"].note == uses
    assert not any(found[name].fault for name in ("theirs", "seen", "calling", "over"))
    assert found["over"].note == uses
    assert found["form_metadata"].same


def test_what_has_no_counterpart_is_not_computed(both: Both) -> None:
    both.migrate()
    both.query(
        "create sequence ran; create materialized view own as select nextval('ran') from couchdb with no data"
    )
    assert compared(both)["own"].note == "couch2pg has no own"
    assert both.query(HAS_RUN) == [(False,)]


def test_what_was_carried_over_with_trust_is_compared_until_it_changes(both: Both, analyst: str) -> None:
    view = f"""
        set role {analyst};
        create or replace view useview_forms as
          select uuid, formname from form_metadata where theirs() {{}} 0;
        create or replace view useview_names as select uuid from useview_forms
    """
    both.query(view.format(">"))
    both.migrate(trusted=[analyst])
    found = compared(both)
    assert found["useview_forms"].same
    assert found["useview_names"].same
    both.query(view.format("<"))
    both.query("select setval('ran', 1, false)")
    found = compared(both)
    assert found["useview_forms"].note == f"it belongs to {analyst}, whose SQL is not run here"
    assert found["useview_names"].note == "it reads useview_forms, which is not computed"
    assert not found["useview_forms"].fault
    assert not found["useview_names"].fault
    assert both.query(HAS_RUN) == [(False,)]


def test_views_beside_old_models_run_nothing_of_somebody_else(ours: Both) -> None:
    ours.query(MODELS)
    analyst = ours.person(
        "analyst", may="grant create, usage on schema public, old_models, new_models to {role}"
    )
    ours.query(RUNS.format(analyst=analyst))
    ours.query(f"""
        set role {analyst};
        create view old_models.theirs as select theirs() as n;
        create materialized view old_models.stored as select 1 as n;
        create table old_models.dbt_results (doc jsonb);
        create type old_models.mood as enum ('good');
        create function old_models.told(old_models.mood) returns text language sql
          as $$ select theirs()::text $$;
        create cast (old_models.mood as text) with function old_models.told(old_models.mood);
        create table old_models.moods (mood old_models.mood);
        insert into old_models.moods values ('good'), (null);
        create view new_models.views as select theirs() as n;
        reset role;
        create view old_models.views as select 1 as n;
        grant select on old_models.moods to public;
        create table new_models.theirs (n bigint); create table new_models.stored (n int);
        create table new_models.moods (mood text); insert into new_models.moods values ('good'), (null);
    """)
    found = compared(
        ours,
        old_schema="old_models",
        new_schema="new_models",
        old_program=Program.CHT_SYNC_2,
        without={"medic", "dbt_results"},
    )
    assert ours.query(HAS_RUN) == [(False,)]
    not_run = f"it belongs to {analyst}, whose SQL is not run here"
    assert found["theirs"].note == not_run
    assert found["views"].note == f"{not_run} (in new_models)"
    assert (found["stored"].rows_old, found["stored"].rows_new) == (1, 0)
    assert found["moods"].same
    assert found["people"].differs


def test_what_reads_nothing_of_the_old_program_may_be_lacking(ours: Both) -> None:
    ours.query(MODELS)
    ours.query("""
        create view old_models.statistics as select 1 as n;
        alter extension plpgsql add view old_models.statistics;
        create view old_models.clock as select 1 as n;
        create view old_models.tables as select relname from pg_class;
        create view old_models.people_again as select * from old_models.people;
        create view old_models.documents as select * from old_models.medic;
    """)
    found = models_compared(ours)
    assert "statistics" not in found
    assert found["clock"].note == "new_models has no clock"
    assert not found["clock"].fault
    assert not found["tables"].fault
    assert found["people_again"].fault
    assert found["documents"].fault


def test_a_new_one_that_cannot_be_read_or_lacks_a_column_is_a_fault(both: Both) -> None:
    both.query("create view useview_own as select doc ->> '_id' as uuid, doc ->> 'name' as name from couchdb")
    both.query("create view brittle as select (doc ->> 'odd')::int as odd from couchdb")
    both.migrate()
    both.query("""
        insert into couchdb values ('{"_id": "odd", "odd": "x"}');
        drop view couch2pg.brittle, couch2pg.useview_own;
        create view couch2pg.brittle as select 1 as odd;
        create view couch2pg.useview_own as select doc ->> '_id' as uuid from couch2pg.couchdb;
    """)
    found = compared(both)
    assert found["useview_own"].fault
    assert found["useview_own"].note == "only in the old one: name"
    assert found["brittle"].note == 'cannot be compared: invalid input syntax for type integer: "x"'
    assert not found["brittle"].fault
    both.query("drop view couch2pg.brittle; create view couch2pg.brittle as select 1 / 0 as odd")
    assert compared(both)["brittle"].fault


def test_it_is_known_whose_rows_a_view_shows(both: Both) -> None:
    both.migrate()
    found = compared(both)
    assert found["contactview_chw"].reads == {"public.couchdb"}
    assert found["useview_feedback"].reads == {"public.couchdb_users_meta"}
    assert found["useview_feedback"].may_read("public.couchdb_users_meta")
    assert not found["useview_feedback"].may_read("public.couchdb")


def test_views_of_who_owns_the_old_tables_and_of_dbts_role_are_compared(ours: Both) -> None:
    ours.query(MODELS)
    former = ours.person("former", may="grant create, usage on schema old_models to {role}")
    dbt = ours.person("models", may="alter schema new_models owner to {role}")
    ours.query(f"""
        alter table old_models.medic owner to {former};
        set role {former}; create view old_models.one as select 1 as n; reset role;
        set role {dbt}; create view new_models.one as select 1 as n
    """)
    found = models_compared(ours)
    assert found["one"] == ViewFinding("one", 1, 1, 0, 0, None)
