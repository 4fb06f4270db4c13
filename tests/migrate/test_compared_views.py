"""What `compare_views` finds between an old program's views and those in their place."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from postgres_fixture import on_every_server
from psycopg2 import extensions

from cht_sync.migrate.compared_views import ViewFinding, compare_views
from migrate.both import Both
from migrate.couch2pg_schema import VIEWS

pytest_generate_tests = on_every_server

TWICE = """
    insert into couchdb_users_meta select '{"_id": "a", "type": "feedback"}' from generate_series(1, 2)
"""


def compared(both: Both, **given: Any) -> dict[str, ViewFinding]:
    settings = {"old_schema": "public", "new_schema": "couch2pg", "old_program": "couch2pg", **given}
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
        "useview_lost", None, None, None, None, "couch2pg has no useview_lost"
    )
    assert found["brittle"].note == 'cannot be compared: invalid input syntax for type integer: "x"'
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


def test_models_are_compared_over_the_columns_that_both_have(ours: Both) -> None:
    ours.query(MODELS)
    found = compared(
        ours, old_schema="old_models", new_schema="new_models", old_program="cht-sync", without={"medic"}
    )
    assert found == {
        "gone": ViewFinding("gone", None, None, None, None, "new_models has no gone"),
        "nothing_alike": ViewFinding("nothing_alike", None, None, None, None, "no column is in both"),
        "people": ViewFinding("people", 1, 1, 1, 1, None),
        "person": ViewFinding(
            "person", 2, 2, 0, 0, "only in the old one: former; only in the new one: @timestamp"
        ),
    }
    assert found["person"].same
    assert not found["people"].same


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_connection_is_as_it_was(both: Both, autocommit: bool) -> None:
    both.migrate()
    with closing(both.installation.connect()) as connection:
        connection.autocommit = autocommit
        compare_views(connection, old_schema="public", new_schema="couch2pg", old_program="couch2pg")
        assert connection.autocommit is autocommit
        with connection.cursor() as cursor:
            cursor.execute(
                "select to_regclass('pg_temp.form_metadata'), current_setting('transaction_isolation')"
            )
            assert cursor.fetchone() == (None, "read committed")
