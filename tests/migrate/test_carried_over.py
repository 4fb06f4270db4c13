"""Views of the operator's own go over with couch2pg's."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg2
import pytest
from postgres_fixture import PostgresServer, on_every_server
from warehouse.installation import Installation

from cht_sync.errors import ChtSyncError
from migrate.both import Both, of_plain_owner

pytest_generate_tests = on_every_server

REFRESH = "select couch2pg.refresh_matviews()"
OWN = """
    create table targets (form text primary key, wanted int);
    insert into targets values ('delivery', 5);
    create function shortened(text) returns text language sql immutable as 'select left($1, 5)';
    create materialized view useview_visits as
      select form_metadata.uuid, shortened(contactview_metadata.name) as worker, formname,
        form_metadata.reported,
        (select wanted from targets where form = formname) as wanted
      from form_metadata left join contactview_metadata on contactview_metadata.uuid = chw;
    create unique index useview_visits_uuid on useview_visits (uuid);
    create index useview_visits_worker on useview_visits (lower(worker)) where reported is not null;
    comment on materialized view useview_visits is 'of the programme';
    comment on column useview_visits.worker is 'short';
    create view "Visits, counted" with (security_barrier = true) as
      select worker, count(*) from useview_visits group by worker;
    create materialized view formview_counts as
      select count(*), (select count(*) from couchdb_users_meta) as meta from "Visits, counted";
"""
OWN_NAMES = ("useview_visits", "Visits, counted", "formview_counts")


@pytest.fixture
def owned(both: Both) -> Both:
    """With views of the operator's own."""
    both.query(OWN)
    return both


def test_views_go_over_with_what_they_read_and_what_belongs_to_them(owned: Both) -> None:
    analyst = owned.person(
        "analyst",
        may='grant select on useview_visits to {role}; grant select (count) on "Visits, counted" to {role}',
    )
    report = owned.migrate()
    assert report.failed == []
    for name in OWN_NAMES:
        assert owned.rows("couch2pg", name) == owned.rows("public", name) != []
        assert owned.columns("couch2pg", name) == owned.columns("public", name)
    described = """
        select relname, relkind::text, reloptions, obj_description(oid), col_description(oid, 2),
          array(select regexp_replace(pg_get_indexdef(indexrelid), ' ON \\S+', ' ON') from pg_index
            where indrelid = pg_class.oid order by 1)
        from pg_class where relnamespace = %s::regnamespace and relname = any(%s) order by 1
    """
    assert owned.query(described, "couch2pg", list(OWN_NAMES)) == owned.query(
        described, "public", list(OWN_NAMES)
    )
    may = "select has_table_privilege(%s, %s, 'select'), has_column_privilege(%s, %s, 'count', 'select')"
    assert owned.query(may, analyst, "couch2pg.useview_visits", analyst, 'couch2pg."Visits, counted"') == [
        (True, True)
    ]


def test_what_went_over_reads_our_documents_and_no_old_one(owned: Both) -> None:
    owned.migrate()
    owned.query("delete from public.couchdb")
    owned.store("medic-users-meta", [{"_id": "new", "type": "feedback"}])
    owned.query("delete from public.couchdb_users_meta")
    owned.query(REFRESH)
    ((count, meta),) = owned.query("select * from couch2pg.formview_counts")
    assert (count > 0, meta) == (True, owned.query('select count(*) from v1."medic-users-meta"')[0][0])
    owned.query("update public.targets set wanted = 6")
    owned.query(REFRESH)
    assert owned.query("select distinct wanted from couch2pg.useview_visits where formname = 'delivery'") == [
        (6,)
    ]


def test_what_was_carried_over_is_not_carried_over_again(owned: Both) -> None:
    owned.migrate()
    before = owned.catalog()
    assert owned.migrate().done == []
    assert owned.catalog() == before


def test_one_that_changed_is_made_anew_with_what_reads_it(owned: Both) -> None:
    role = owned.person("dashboards")
    owned.migrate(readers=[role])
    owned.query("create view couch2pg.mine as select * from couch2pg.formview_counts")
    owned.query("""
        create or replace view "Visits, counted" as
          select worker, count(*) from useview_visits where worker <> 'Nobody' group by worker
    """)
    report = owned.migrate()
    assert report.failed == []
    assert "Visits, counted: view carried over" in report.done
    assert "mine: made again, over what it reads" in report.done
    assert "couch2pg.useview_visits" not in str(report.done)
    definition = "select pg_get_viewdef('couch2pg.\"Visits, counted\"'::regclass) ~ 'Nobody'"
    assert owned.query(definition) == [(True,)]
    assert owned.asked_by(role, "select * from couch2pg.mine") == owned.query(
        "select * from couch2pg.formview_counts"
    )


def test_an_own_view_in_the_new_schema_is_left(owned: Both) -> None:
    owned.migrate()
    owned.query(
        "drop materialized view couch2pg.formview_counts;"
        "create view couch2pg.formview_counts as select 1 as one"
    )
    owned.query("delete from couch2pg.cht_sync_parts where name = 'formview_counts'")
    assert "formview_counts is in couch2pg already: left as it is" in owned.migrate().noted
    assert owned.query("select * from couch2pg.formview_counts") == [(1,)]


def test_one_that_cannot_be_made_is_told_and_the_others_are_made(owned: Both) -> None:
    # The old documents have nothing of the kind; ours do.
    owned.query("create materialized view brittle as select (doc ->> 'odd')::int as odd from couchdb")
    owned.query("create view over_brittle as select odd from brittle")
    owned.query('insert into v1.medic (_id, doc) values (\'odd\', \'{"_id": "odd", "odd": "x"}\')')
    said = owned.cli()
    assert said.exit_code == 1
    assert 'brittle: not carried over: invalid input syntax for type integer: "x"' in said.output
    assert "over_brittle: not carried over: it would still read public.brittle" in said.output
    assert owned.query("select to_regclass('couch2pg.over_brittle')") == [(None,)]
    assert owned.rows("couch2pg", "formview_counts") == owned.rows("public", "formview_counts")
    owned.query("update v1.medic set doc = doc - 'odd' where _id = 'odd'")
    assert owned.cli().exit_code == 0


def test_what_is_in_another_schema_is_told_and_left(owned: Both) -> None:
    owned.query("""
        create schema reports;
        create view reports.people as select uuid from public.contactview_metadata;
        create view through as select uuid from reports.people;
    """)
    report = owned.migrate()
    assert "reports.people reads couch2pg's tables, and is not in public: left" in report.noted
    assert report.failed == ["through: not carried over: it would still read reports.people"]


def test_a_built_in_view_with_other_columns_is_told(owned: Both) -> None:
    owned.query("""
        drop view contactview_hospital;
        create view contactview_hospital as select uuid, name, notes from contactview_metadata;
        create view sites as select name, notes from contactview_hospital;
    """)
    report = owned.migrate()
    assert [one for one in report.noted if one.startswith("contactview_hospital has other columns in public")]
    (said,) = report.failed
    assert re.fullmatch(r"sites: not carried over: column \S*notes\S* does not exist", said)
    assert [name for name, _ in owned.columns("couch2pg", "contactview_hospital")] == ["uuid", "name"]


def test_a_view_of_somebody_else_needs_a_word(owned: Both) -> None:
    analyst = owned.person(
        "analyst", may="grant create, usage on schema public to {role}; grant select on couchdb to {role}"
    )
    owned.query(
        f"set role {analyst}; create materialized view theirs as select doc ->> '_id' as uuid from couchdb"
    )
    report = owned.migrate()
    (said,) = report.failed
    assert said.startswith(
        f"theirs: not carried over: it belongs to {analyst}, and would be read with the rights"
    )
    assert owned.migrate(trusted=[analyst]).failed == []
    assert owned.rows("couch2pg", "theirs") == owned.rows("public", "theirs") != []


def test_an_owner_who_is_no_superuser_carries_over_what_couch2pg_has_made(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    installation = Installation(postgres_server, database)
    with of_plain_owner(installation, tmp_path) as world:
        owner = world.changes["POSTGRES_USER"]
        world.query(OWN)
        report = world.migrate()
        assert report.failed[0] == "useview_visits: not carried over: permission denied for table targets"
        world.query(f"grant select on targets to {owner}")
        assert world.migrate().failed == []
        for name in OWN_NAMES:
            assert world.rows("couch2pg", name) == world.rows("public", name)
        owners = """
            select distinct relowner::regrole::text from pg_class
            where relnamespace = 'couch2pg'::regnamespace
        """
        assert world.query(owners) == [(owner,)]
        assert world.query(REFRESH) == [(1,)]
        world.drop()
        installation.query(f"alter database {database} owner to current_user")
        with pytest.raises(ChtSyncError, match="the schema couch2pg cannot be made") as refused:
            world.migrate()
        assert refused.value.hint is not None
        installation.query(refused.value.hint.rpartition(": ")[2])
        assert world.migrate().failed == []
        installation.query(f"alter database {database} owner to {owner}")


def test_without_couch2pg_there_are_the_built_in_ones_alone(ours: Both) -> None:
    ours.store_programme(50)
    report = ours.migrate()
    assert (report.failed, report.noted) == ([], [])
    assert ours.rows("couch2pg", "contactview_metadata")


def test_several_schemas_of_couch2pg_are_asked_about(owned: Both) -> None:
    owned.query("create schema older; create table older.couchdb (doc jsonb)")
    with pytest.raises(ChtSyncError, match="in each of these schemas: older, public") as refused:
        owned.migrate()
    assert refused.value.hint is not None
    assert "--from older" in refused.value.hint
    assert owned.migrate(old_schema="public").failed == []


def test_the_old_side_is_not_changed(owned: Both) -> None:
    def old() -> list[tuple[object, ...]]:
        return [row for row in owned.catalog() if row[0] == "public"]

    before = old()
    owned.migrate()
    owned.query(REFRESH)
    owned.drop()
    assert old() == before


@pytest.mark.parametrize(
    "view",
    [
        "create materialized view calling as select theirs(doc ->> '_id') as id from couchdb",
        "create view calling as select doc #-# '_id' as id from couchdb",
        "create view calling as select (doc ->> '_id')::their_text as id from couchdb",
        "create view calling as select doc ->> '_id' as id, (select n from their_view) as n from couchdb",
        "create materialized view calling as select doc ->> '_id' as id from couchdb;"
        "create index on calling (theirs(id))",
    ],
)
def test_a_view_that_uses_what_somebody_else_wrote_needs_a_word(both: Both, view: str) -> None:
    analyst = both.person("analyst", may="grant create, usage on schema public to {role}")
    both.query(f"""
        set role {analyst};
        create function theirs(text) returns text language sql immutable as 'select upper($1)';
        create function theirs(jsonb, text) returns text language sql immutable as 'select $1 ->> $2';
        create operator #-# (leftarg = jsonb, rightarg = text, function = theirs);
        create domain their_text as text check (theirs(value) is not null);
        create view their_view as select 1 as n;
    """)
    both.query(view)
    (said,) = both.migrate().failed
    assert said.startswith("calling: not carried over: it uses ")
    assert said.endswith(f"read its SQL, then: --trust {analyst}")
    assert both.migrate(trusted=[analyst]).failed == []
    assert both.rows("couch2pg", "calling") == both.rows("public", "calling") != []


def test_who_adds_a_table_of_couch2pgs_names_is_not_taken_for_couch2pg(both: Both) -> None:
    analyst = both.person("analyst", may="grant create, usage on schema public to {role}")
    both.query(f"""
        drop table couchdb_medic_logs; set role {analyst}; create table couchdb_medic_logs (doc jsonb);
        create materialized view theirs as select doc from couchdb_medic_logs;
    """)
    (said,) = both.migrate().failed
    assert said.startswith(f"theirs: not carried over: it belongs to {analyst}, ")


def test_one_that_reads_the_old_progress_is_told(both: Both) -> None:
    both.query("create view lag as select seq, (select count(*) from couchdb) as count from couchdb_progress")
    report = both.migrate()
    assert report.failed == []
    assert "lag reads public.couchdb_progress, which stays as couch2pg has left it" in report.noted


def test_what_is_dropped_on_both_sides_is_forgotten(owned: Both) -> None:
    owned.migrate()
    owned.query("drop materialized view public.formview_counts")
    assert owned.migrate().done == []
    assert owned.rows("couch2pg", "formview_counts")
    owned.query("drop materialized view couch2pg.formview_counts")
    assert owned.migrate().done == []
    owned.query("create view couch2pg.formview_counts as select 1 as one")
    with pytest.raises(ChtSyncError, match=r"^couch2pg\.formview_counts would be lost"):
        owned.drop()


@pytest.mark.parametrize("name", ["cht_sync_readers", "cht_sync_parts"])
def test_a_view_called_like_a_table_of_the_commands_own_is_left_with_the_reason(
    both: Both, name: str
) -> None:
    both.query(f"create view {name} as select doc from couchdb; create view other as select doc from couchdb")
    report = both.migrate()
    (said,) = report.failed
    assert said.startswith(f"{name}: not carried over: couch2pg.{name} is a table of this command's own")
    assert "other: view carried over" in report.done


def test_a_view_in_the_place_of_a_table_of_the_commands_own_is_refused(both: Both) -> None:
    both.migrate()
    both.query(
        "drop table couch2pg.cht_sync_readers; create view couch2pg.cht_sync_readers as select 1 as one"
    )
    before = both.catalog()
    refused = both.cli()
    assert refused.exit_code == 1
    assert "couch2pg.cht_sync_readers was not made by this command" in refused.output
    assert "Give it another name, or drop it" in refused.output
    assert both.catalog() == before


def test_it_says_first_where_views_are_taken_from_and_whose_they_are(both: Both) -> None:
    owner = both.settings.postgres_user
    said = f"Views of your own are taken from couch2pg's schema public, whose tables belong to {owner}"
    assert both.cli().output.splitlines()[0] == said
    other = both.person("other")
    both.query(f"alter table couchdb_medic_logs owner to {other}")
    assert f"whose tables have several owners: {', '.join(sorted([owner, other]))}" in both.cli().output
    both.query(f"alter table couchdb_medic_logs owner to {owner}")


def test_who_is_given_rights_to_write_to_a_view_writes_to_the_operators_own_table_alone(both: Both) -> None:
    both.query("""
        create table targets (form text, wanted int);
        insert into targets values ('delivery', 5);
        create view aims as select * from targets where exists (select from couchdb);
    """)
    role = both.person("writer", may="grant update on aims to {role}")
    both.migrate()
    may_write = "select has_table_privilege(%s, 'couch2pg.aims', 'update')"
    assert both.query(may_write, role) == [(False,)]
    both.query(f"grant usage on schema couch2pg to {role}; grant update, select on couch2pg.aims to {role}")
    assert both.asked_by(role, "update couch2pg.aims set wanted = 6 returning wanted") == [(6,)]
    assert both.query("select wanted from targets") == [(6,)]
    both.query(f"grant update on couch2pg.couchdb to {role}")
    with pytest.raises(psycopg2.Error, match="cannot update"):
        both.asked_by(role, "update couch2pg.couchdb set doc = '{}'")
