"""Who may read the views for couch2pg's users, and what is theirs after the next run."""

from __future__ import annotations

from postgres_fixture import on_every_server

from migrate.both import Both

pytest_generate_tests = on_every_server

MAY_READ = "select has_schema_privilege(%s, 'couch2pg', 'usage'), has_table_privilege(%s, %s, 'select')"
OTHERS = "update couch2pg.cht_sync_parts set made_of = 'another version' where name = %s"


def may_read(both: Both, role: str, view: str) -> bool:
    return both.query(MAY_READ, role, role, f"couch2pg.{view}") == [(True, True)]


def test_a_role_that_was_named_once_reads_what_is_made_later(both: Both) -> None:
    role = both.person("dashboards")
    assert f"{role}: may read and refresh them" in both.migrate(readers=[role]).done
    both.query("create view useview_later as select doc from couchdb; ")
    both.query("create view couch2pg.mine as select 1 as one")
    assert f"{role}: may use mine, useview_later, too" in both.migrate().done
    assert may_read(both, role, "useview_later")
    assert may_read(both, role, "mine")
    assert both.migrate().done == []


def test_who_was_let_in_by_hand_keeps_just_that(both: Both) -> None:
    both.migrate()
    role = both.person("analyst", may="grant usage on schema couch2pg to {role}")
    both.query(f"grant select on couch2pg.contactview_hospital, couch2pg.contactview_metadata to {role}")
    both.query(OTHERS, "contactview_metadata")
    done = both.migrate().done
    assert "contactview_metadata: materialized view made anew" in done
    assert role not in str(done)
    assert may_read(both, role, "contactview_hospital")
    assert may_read(both, role, "contactview_metadata")
    assert not may_read(both, role, "couchdb")
    may_refresh = "select has_function_privilege(%s, 'couch2pg.refresh_matviews()', 'execute')"
    assert both.query(may_refresh, role) == [(False,)]


def test_what_was_taken_away_stays_away_until_the_role_is_named_again(both: Both) -> None:
    role = both.person("dashboards")
    both.migrate(readers=[role])
    both.query(f"revoke select on couch2pg.couchdb, couch2pg.contactview_chw from {role}")
    both.query(OTHERS, "contactview_metadata")
    both.migrate()
    assert not may_read(both, role, "couchdb")
    assert not may_read(both, role, "contactview_chw")
    assert may_read(both, role, "contactview_metadata")
    assert f"{role}: may use contactview_chw, couchdb, too" in both.migrate(readers=[role]).done
    assert may_read(both, role, "couchdb")


def test_who_is_shut_out_of_the_schema_stays_outside(both: Both) -> None:
    role = both.person("dashboards")
    both.migrate(readers=[role])
    both.query(f"revoke usage on schema couch2pg from {role}")
    both.query("create view useview_later as select doc from couchdb")
    assert role not in str(both.migrate().done)
    assert both.query("select has_table_privilege(%s, 'couch2pg.useview_later', 'select')", role) == [
        (False,)
    ]
    both.migrate(readers=[role])
    assert may_read(both, role, "useview_later")


def test_rights_on_a_view_of_the_operators_own_outlive_its_change(both: Both) -> None:
    both.query("create view useview_own as select doc ->> '_id' as uuid, doc ->> 'type' as type from couchdb")
    before = both.person("before", may="grant select on useview_own to {role}")
    later = both.person("later")
    both.migrate()
    both.query(f"revoke select on couch2pg.useview_own from {before}")
    both.query(f"grant select (uuid), select (type) on couch2pg.useview_own to {later}")
    both.query("drop view useview_own; create view useview_own as select doc ->> '_id' as uuid from couchdb")
    assert both.migrate().failed == []
    may = "select has_any_column_privilege(%s, 'couch2pg.useview_own', 'select')"
    assert both.query(may, before) == [(False,)]
    assert both.query(may, later) == [(True,)]


def test_a_role_that_is_gone_is_forgotten(both: Both) -> None:
    role = both.person("dashboards")
    both.migrate(readers=[role])
    both.query(f"drop owned by {role}; drop role {role}")
    assert both.migrate().done == []
    both.person("dashboards")
    assert both.migrate().done == []
    assert not may_read(both, role, "couchdb")
